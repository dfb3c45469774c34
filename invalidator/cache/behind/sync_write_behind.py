"""Write-behind for threads."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from invalidator.cache.behind.plan import LOG, Call, Flush, Gathered, Plan, Stats
from invalidator.cache.requests import Send
from invalidator.cache.steps import drive_sync
from invalidator.cache.sync_cache import SyncCache


class SyncWriteBehind:
    """Does what `WriteBehind` does; the flusher is a thread."""

    def __init__(
        self, cache: SyncCache, name: str, flush: Callable[[Flush], object], **options: Any
    ) -> None:
        self._driver = cache.driver
        self._flush = flush
        self._plan = Plan(cache.prefix, name, **options)
        self._lock = threading.Lock()  # of `_open`
        self._open = Gathered()
        self._sending = threading.Lock()  # who has it sends for all who wait
        self._flusher: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def stats(self) -> Stats:
        return self._plan.stats

    def write(self, key: str, value: Any = 1) -> None:
        """Journal a write; raise CacheUnavailable if Redis did not say that it did.

        What is called while an entry is on its way shares the next one.
        """
        with self._lock:
            gathered = self._open
            gathered.add(key, value, self._plan.merge)
        with self._sending:
            if not gathered.done:
                self._send(gathered)
        if gathered.error is not None:
            raise gathered.error

    def backlog(self) -> int:
        """Return how many entries wait to be flushed."""
        (entries,) = self._driver.send([("XLEN", self._plan.journal)])
        return int(entries)

    def start(self) -> None:
        """Flush in this process too; any number of processes may do so."""
        if self._flusher is None:
            self._stopping.clear()
            self._flusher = threading.Thread(target=self._run, daemon=True)
            self._flusher.start()

    def stop(self) -> None:
        """Flush all that is journalled, unless it fails or another process is at it."""
        if self._flusher is not None:
            self._stopping.set()
            self._flusher.join()
            self._flusher = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()

    def _send(self, gathered: Gathered) -> None:
        with self._lock:
            self._open = Gathered()
        try:
            self._driver.send(self._plan.journalling(gathered))
            self.stats.written += gathered.calls
        except BaseException as error:
            gathered.error = error
            raise
        finally:
            gathered.done = True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._turn(drain=False))
        while self._turn(drain=True) == 0:
            pass
        try:
            self._driver.send([self._plan.leaving()])
        except Exception as error:  # noqa: BLE001 - the lease runs out
            LOG.warning("write-behind %s: %r", self._plan.name, error)

    def _turn(self, *, drain: bool) -> float:
        try:
            return drive_sync(self._plan.turn(drain=drain), self._answer)
        except Exception as error:  # noqa: BLE001 - Redis is down, or a merge fails: tried again
            LOG.warning("write-behind %s: %r", self._plan.name, error)
            return self._plan.look

    def _answer(self, request: Any) -> Any:
        match request:
            case Send(commands):
                return self._driver.send(commands)
            case Call(flush):
                return self._flush(flush)
