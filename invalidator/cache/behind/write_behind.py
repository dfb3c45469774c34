"""Write-behind for asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from invalidator.cache.behind.plan import LOG, Call, Flush, Gathered, Plan, Stats
from invalidator.cache.cache import Cache
from invalidator.cache.requests import Send
from invalidator.cache.steps import drive


class WriteBehind:
    """A journal of frequent writes, and its flusher; the options are those of `Plan`."""

    def __init__(
        self, cache: Cache, name: str, flush: Callable[[Flush], Awaitable[object]], **options: Any
    ) -> None:
        self._driver = cache.driver
        self._flush = flush
        self._plan = Plan(cache.prefix, name, **options)
        self._open = Gathered(asyncio.Event())
        self._sending = False
        self._sender: asyncio.Task[None] | None = None  # kept: the loop alone would forget it
        self._flusher: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def stats(self) -> Stats:
        return self._plan.stats

    async def write(self, key: str, value: Any = 1) -> None:
        """Journal a write; raise CacheUnavailable if Redis did not say that it did.

        What is called while an entry is on its way shares the next one.
        """
        gathered = self._open
        gathered.add(key, value, self._plan.merge)
        if self._sending:
            await gathered.done.wait()
            if gathered.error is not None:
                raise gathered.error
            return
        self._sending = True
        try:
            await self._send(gathered)
        finally:
            self._pass_on()

    async def backlog(self) -> int:
        """Return how many entries wait to be flushed."""
        (entries,) = await self._driver.send([("XLEN", self._plan.journal)])
        return int(entries)

    def start(self) -> None:
        """Flush in this process too; any number of processes may do so."""
        if self._flusher is None:
            self._stopping.clear()
            self._flusher = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Flush all that is journalled, unless it fails or another process is at it."""
        if self._flusher is not None:
            self._stopping.set()
            await self._flusher
            self._flusher = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.stop()

    async def _send(self, gathered: Gathered) -> None:
        self._open = Gathered(asyncio.Event())
        try:
            await self._driver.send(self._plan.journalling(gathered))
            self.stats.written += gathered.calls
        except BaseException as error:
            gathered.error = error
            raise
        finally:
            gathered.done.set()

    def _pass_on(self) -> None:
        """Send what gathered meanwhile, in a task that none of its callers can cancel."""
        self._sending = bool(self._open.calls)
        if self._sending:
            self._sender = asyncio.create_task(self._send_on())

    async def _send_on(self) -> None:
        try:
            with suppress(Exception):  # raised by all who wait for it
                await self._send(self._open)
        finally:
            self._pass_on()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            pause = await self._turn(drain=False)
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        while await self._turn(drain=True) == 0:
            pass
        await self._leave()

    async def _turn(self, *, drain: bool) -> float:
        try:
            pause = await drive(self._plan.turn(drain=drain), self._answer)
        except Exception as error:  # noqa: BLE001 - Redis is down, or a merge fails: tried again
            LOG.warning("write-behind %s: %r", self._plan.name, error)
            pause = self._plan.look
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # psycopg raises its own error then
            raise asyncio.CancelledError
        return pause

    async def _leave(self) -> None:
        try:
            await self._driver.send([self._plan.leaving()])
        except Exception as error:  # noqa: BLE001 - the lease runs out
            LOG.warning("write-behind %s: %r", self._plan.name, error)

    async def _answer(self, request: Any) -> Any:
        match request:
            case Send(commands):
                return await self._driver.send(commands)
            case Call(flush):
                return await self._flush(flush)
