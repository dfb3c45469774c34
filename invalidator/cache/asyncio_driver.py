"""Takes the steps of the protocol in asyncio."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from invalidator.cache import protocol
from invalidator.cache.backplane import Announced
from invalidator.cache.base import MOST_REFRESHES, PERMIT
from invalidator.cache.breaker import Breaker
from invalidator.cache.codecs import Undecodable, value_of, value_start
from invalidator.cache.entry import HIT, Names, fresh_until, judge, new_token
from invalidator.cache.errors import CacheUnavailable, LoadsExhausted
from invalidator.cache.loading import CURRENT, Flight, Load, Outcome
from invalidator.cache.process import Process, Spec
from invalidator.cache.requests import (
    Background,
    Call,
    CallAlone,
    CallMany,
    Get,
    Join,
    Lead,
    Send,
    Steps,
    Wait,
)
from invalidator.cache.scripts import Command
from invalidator.cache.seen import SEEN, tell
from invalidator.cache.servers import ClosedServer, Server, closed
from invalidator.cache.steps import drive

Loader = Callable[[Any], Awaitable[Any]]
FIRST_POLL, LAST_POLL = 0.002, 0.1  # seconds between looks at another's lease


class LoadContext:
    """What a loader may say while it loads."""

    def __init__(self, driver: "Driver", load: Load | None) -> None:
        self._driver = driver
        self.load = load  # None: nothing of it is cached

    async def tag(self, *tags: str) -> None:
        """Make the entry depend on tags; called before what depends on them is read."""
        if self.load is None:
            return
        missing = self.load.note(tags)
        if not missing:
            return
        try:
            stamps = await self._driver.send(self.load.commands(missing, new_token()))
        except CacheUnavailable:
            self.load.cacheable = False
        else:
            self.load.took(missing, stamps)


class Driver:
    def __init__(self, server: Server, here: Process, breaker: Breaker, loads: int) -> None:
        self._server = server
        self._here = here
        self._breaker = breaker
        self._permits = asyncio.Semaphore(loads)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._polls: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._refreshes = 0  # that run in the background
        self._closed = False

    async def close(self) -> None:
        """End all loads; who waits for one, or reads from now on, gets CacheError."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = ClosedServer()

    async def read(self, names: Names, spec: Spec, load: Loader) -> Any:
        """Return an entry's value, from the cache or from its loader."""
        here = self._here
        if here.extras:
            names = here.known(names)
        try:
            found = await self.get(names.keys)
        except CacheUnavailable:
            return await self.drive(protocol.read(names, spec, here, None), load)
        entry, line = found[0], names.line(found[1:])
        if judge(entry, line, here.now(), spec.policy) == HIT:
            if SEEN.get() is not None:
                tell(names, fresh_until(entry), here, spec.policy)  # type: ignore[arg-type]
            try:
                value = value_of(entry, value_start(line), spec.codec)  # type: ignore[arg-type]
            except Undecodable:
                pass
            else:
                spec.stats.hits += 1
                return value
        return await self.drive(protocol.read(names, spec, here, found), load)

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._breaker:
            return await self._server.get(keys)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        with self._breaker:
            return await self._server.send(commands)

    async def change(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str]
    ) -> list[Any]:
        """Run a writer's commands, which invalidate these names."""
        return await self.send(commands)

    async def change_whatever_happens(self, command: Command, key: str) -> None:
        """Run a writer's command to its end, also where its caller is cancelled."""
        await asyncio.shield(self._spawn(self.change([command], "keys", [key])))

    def drive(self, steps: Steps, load: Loader) -> Awaitable[Any]:
        """Take all steps, and return what they return."""
        return drive(steps, lambda request: self._answer(request, load))

    async def _answer(self, request: Any, load: Loader) -> Any:
        match request:
            case Send(commands):
                return await self.send(commands)
            case Call(one):
                return await self._call(load, LoadContext(self, one))
            case Lead():
                return await self._lead(request, load)
            case Get(keys):
                return await self.get(keys)
            case Join():
                return await self._join(request)
            case Wait():
                return await self._wait(request)
            case CallAlone():
                return await self._alone(lambda: self._call(load, LoadContext(self, None)))
            case CallMany(names, alone=True):
                return await self._alone(lambda: load(names))
            case CallMany(names):
                return await load(names)
            case Background(steps):
                return self._refresh(steps, load)

    async def _call(self, load: Loader, context: LoadContext) -> Any:
        if self._closed:
            raise closed()
        outer = CURRENT.set(context)
        try:
            return await load(context)
        finally:
            CURRENT.reset(outer)

    async def _alone(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(PERMIT):
                await self._permits.acquire()
        except TimeoutError:
            raise LoadsExhausted("too many loads run without caching") from None
        try:
            return await call()
        finally:
            self._permits.release()

    async def _lead(self, lead: Lead, load: Loader) -> Outcome:
        """Load in a task of its own: whoever gives up does not fail those who wait as well."""
        flight = lead.flight
        flight.ended = asyncio.Event()
        self._here.flights[flight.token] = flight
        task = self._spawn(self._fly(lead, load))
        task.add_done_callback(lambda _: self._landed(flight))
        try:
            await flight.ended.wait()
        except asyncio.CancelledError:
            if not flight.followers:
                task.cancel()
                await asyncio.wait([task])
            raise
        assert flight.outcome is not None
        return flight.outcome

    async def _fly(self, lead: Lead, load: Loader) -> None:
        flight = lead.flight
        try:
            flight.outcome = await self.drive(lead.steps, load)
        except asyncio.CancelledError:
            flight.outcome = self._cancelled()
        except BaseException as error:  # noqa: BLE001 - raised by those who wait for it
            flight.outcome = Outcome(error=error)
        self._landed(flight)

    def _landed(self, flight: Flight) -> None:
        """Wake all who wait, also where the task was cancelled before it began."""
        if flight.outcome is None:
            flight.outcome = self._cancelled()
        self._here.flights.pop(flight.token, None)
        flight.ended.set()

    def _cancelled(self) -> Outcome:
        """Return how a cancelled load ended; another may load in its place, unless all is over."""
        if self._closed:
            return Outcome(error=closed())
        return Outcome(error=asyncio.CancelledError(), shared=False)

    async def _join(self, join: Join) -> Outcome | None:
        flight = join.flight
        flight.followers += 1
        try:
            async with asyncio.timeout(join.seconds):
                await flight.ended.wait()
        except TimeoutError:
            pass
        finally:
            flight.followers -= 1
        return flight.outcome

    async def _wait(self, wait: Wait) -> None:
        """Wait until the lease is another; one poller serves all who wait for the same."""
        key = (wait.key, wait.token)
        poll = self._polls.get(key)
        if poll is None:
            poll = self._polls[key] = self._spawn(self._poll(wait))
            poll.add_done_callback(lambda _: self._polls.pop(key, None))
        await asyncio.wait([poll], timeout=wait.seconds)

    async def _poll(self, wait: Wait) -> None:
        pause, until = FIRST_POLL, self._here.timer() + wait.seconds
        command: Command = ("GETRANGE", wait.key, 30, 45)
        while self._here.timer() < until:
            await asyncio.sleep(pause)
            try:
                (token,) = await self.send([command])
            except CacheUnavailable:
                return
            if token != wait.token:
                return
            pause = min(1.5 * pause, LAST_POLL)

    def _refresh(self, steps: Steps, load: Loader) -> None:
        """Take these steps in the background, if not too many are; the next reader tries again."""
        if not self._closed and self._refreshes < MOST_REFRESHES:
            self._refreshes += 1
            self._spawn(self._quietly(steps, load))

    async def _quietly(self, steps: Steps, load: Loader) -> None:
        try:
            await self.drive(steps, load)
        except CacheUnavailable:
            return
        finally:
            self._refreshes -= 1

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
