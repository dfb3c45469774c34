"""Takes the steps of the protocol in threads."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from invalidator.cache import protocol
from invalidator.cache.asyncio_driver import FIRST_POLL, LAST_POLL
from invalidator.cache.backplane import Announced
from invalidator.cache.base import MOST_REFRESHES, PERMIT
from invalidator.cache.breaker import Breaker
from invalidator.cache.codecs import Undecodable, value_of, value_start
from invalidator.cache.entry import HIT, Names, fresh_until, judge, new_token
from invalidator.cache.errors import CacheUnavailable, LoadsExhausted
from invalidator.cache.loading import CURRENT, Load, Outcome
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
from invalidator.cache.servers import ClosedSyncServer, SyncServer
from invalidator.cache.steps import drive_sync

SyncLoader = Callable[[Any], Any]


class SyncLoadContext:
    """What a loader may say while it loads."""

    def __init__(self, driver: "SyncDriver", load: Load | None) -> None:
        self._driver = driver
        self.load = load  # None: nothing of it is cached

    def tag(self, *tags: str) -> None:
        """Make the entry depend on tags; called before what depends on them is read."""
        if self.load is None:
            return
        missing = self.load.note(tags)
        if not missing:
            return
        try:
            stamps = self._driver.send(self.load.commands(missing, new_token()))
        except CacheUnavailable:
            self.load.cacheable = False
        else:
            self.load.took(missing, stamps)


class SyncDriver:
    def __init__(self, server: SyncServer, here: Process, breaker: Breaker, loads: int) -> None:
        self._server = server
        self._here = here
        self._breaker = breaker
        self._permits = threading.BoundedSemaphore(loads)
        self._lock = threading.Lock()  # of `_polls` and `_refreshes`
        self._polls: dict[tuple[str, bytes], threading.Event] = {}
        self._background = ThreadPoolExecutor(4, "invalidator-cache-refresh")
        self._refreshes = 0  # that run in the background, or wait for a thread
        self._closed = False

    def close(self) -> None:
        """Wait for loads in the background; who reads from now on gets CacheError."""
        with self._lock:
            self._closed = True
        self._background.shutdown(cancel_futures=True)
        self._server = ClosedSyncServer()

    def read(self, names: Names, spec: Spec, load: SyncLoader) -> Any:
        """Return an entry's value, from the cache or from its loader."""
        here = self._here
        if here.extras:
            names = here.known(names)
        try:
            found = self.get(names.keys)
        except CacheUnavailable:
            return self.drive(protocol.read(names, spec, here, None), load)
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
        return self.drive(protocol.read(names, spec, here, found), load)

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._breaker:
            return self._server.get(keys)

    def send(self, commands: Sequence[Command]) -> list[Any]:
        with self._breaker:
            return self._server.send(commands)

    def change(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str]
    ) -> list[Any]:
        """Run a writer's commands, which invalidate these names."""
        return self.send(commands)

    def change_whatever_happens(self, command: Command, key: str) -> None:
        """Run a writer's command to its end: nothing cancels a thread."""
        self.change([command], "keys", [key])

    def drive(self, steps: Steps, load: SyncLoader) -> Any:
        """Take all steps, and return what they return."""
        return drive_sync(steps, lambda request: self._answer(request, load))

    def _answer(self, request: Any, load: SyncLoader) -> Any:
        match request:
            case Send(commands):
                return self.send(commands)
            case Call(one):
                return self._call(load, SyncLoadContext(self, one))
            case Lead():
                return self._lead(request, load)
            case Get(keys):
                return self.get(keys)
            case Join():
                return self._join(request)
            case Wait():
                return self._wait(request)
            case CallAlone():
                return self._alone(lambda: self._call(load, SyncLoadContext(self, None)))
            case CallMany(names, alone=True):
                return self._alone(lambda: load(names))
            case CallMany(names):
                return load(names)
            case Background(steps):
                return self._refresh(steps, load)

    def _call(self, load: SyncLoader, context: SyncLoadContext) -> Any:
        outer = CURRENT.set(context)
        try:
            return load(context)
        finally:
            CURRENT.reset(outer)

    def _alone(self, call: Callable[[], Any]) -> Any:
        if not self._permits.acquire(timeout=PERMIT):
            raise LoadsExhausted("too many loads run without caching")
        try:
            return call()
        finally:
            self._permits.release()

    def _lead(self, lead: Lead, load: SyncLoader) -> Outcome:
        flight = lead.flight
        flight.ended = threading.Lock()  # cheaper than an Event: held until the load has ended
        flight.ended.acquire()
        self._here.flights[flight.token] = flight
        try:
            flight.outcome = self.drive(lead.steps, load)
        except Exception as error:  # noqa: BLE001 - raised by all who wait for it
            flight.outcome = Outcome(error=error)
        finally:
            if flight.outcome is None:  # this thread is ending
                flight.outcome = Outcome(shared=False)
            del self._here.flights[flight.token]
            flight.ended.release()
        return flight.outcome

    def _join(self, join: Join) -> Outcome | None:
        if join.flight.ended.acquire(timeout=join.seconds):
            join.flight.ended.release()
        return join.flight.outcome

    def _wait(self, wait: Wait) -> None:
        """Wait until the lease is another; one poller serves all who wait for the same."""
        key = (wait.key, wait.token)
        with self._lock:
            ended = self._polls.get(key)
            mine = ended is None
            if ended is None:
                ended = self._polls[key] = threading.Event()
        if not mine:
            ended.wait(wait.seconds)
            return
        try:
            self._poll(wait)
        finally:
            with self._lock:
                del self._polls[key]
            ended.set()

    def _poll(self, wait: Wait) -> None:
        pause, until = FIRST_POLL, self._here.timer() + wait.seconds
        command: Command = ("GETRANGE", wait.key, 30, 45)
        while self._here.timer() < until:
            time.sleep(pause)
            try:
                (token,) = self.send([command])
            except CacheUnavailable:
                return
            if token != wait.token:
                return
            pause = min(1.5 * pause, LAST_POLL)

    def _refresh(self, steps: Steps, load: SyncLoader) -> None:
        """Take these steps in the background, if not too many are; the next reader tries again."""
        with self._lock:
            if not self._closed and self._refreshes < MOST_REFRESHES:
                self._refreshes += 1
                self._background.submit(self._quietly, steps, load)

    def _quietly(self, steps: Steps, load: SyncLoader) -> None:
        try:
            self.drive(steps, load)
        except CacheUnavailable:
            return
        finally:
            with self._lock:
                self._refreshes -= 1
