"""Decide what write-behind does, without I/O: docs/decisions/write-behind.md says why.

A turn of the flusher is a generator: it yields `Send` and `Call`, each of which has one answer or
raises, and returns the seconds until the next turn.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from operator import add
from typing import Any, Final

import orjson
from msgspec import Struct

from invalidator import layout
from invalidator.cache.behind.letters import letter
from invalidator.cache.entry import new_token
from invalidator.cache.errors import BadName, CacheError, CodecError
from invalidator.cache.kinds import Time, seconds
from invalidator.cache.requests import Send
from invalidator.cache.scripts import Command, Script

LOG: Final = logging.getLogger("invalidator.cache.behind")
PAGE: Final = 1000  # entries in one reply
MOST_ENTRIES: Final = 20_000  # in one batch
FIRST_RETRY, LAST_RETRY = 0.2, 30.0  # seconds until a batch that failed is tried again

TAKE: Final = Script("behind_take")
FIX: Final = Script("behind_fix")
FINISH: Final = Script("behind_finish")
LEAVE: Final = Script("behind_leave")

Merge = Callable[[Any, Any], Any]
Turn = Generator["Send | Call", Any, float]


class FlushRejected(CacheError):  # noqa: N818 - as the daemon's Rejected
    """The flush function raises it for rows that can never be written."""


class Flush(Struct, frozen=True):
    """A batch to write."""

    name: str
    token: str  # the same in every attempt at this batch, in whatever process
    rows: Mapping[str, Any]  # at most `size` of them
    failures: int = 0  # attempts before this one


class Call(Struct, frozen=True):
    """Call the user's function."""

    flush: Flush


class Stats(Struct):
    """Counts since the start of this process."""

    written: int = 0  # calls that were journalled
    flushes: int = 0
    rows: int = 0  # that were flushed
    failures: int = 0  # attempts to flush
    rejected: int = 0  # rows that became dead letters


def latest(_: Any, new: Any) -> Any:
    """Merge two writes of a row: the newer one counts."""
    return new


class Gathered:
    """Rows that wait to be journalled as one entry."""

    __slots__ = ("calls", "done", "error", "rows")

    def __init__(self, done: Any = False) -> None:
        self.rows: dict[str, Any] = {}
        self.calls = 0
        self.done = done  # a flag, or asyncio's event
        self.error: BaseException | None = None

    def add(self, key: str, value: Any, merge: Merge) -> None:
        try:
            orjson.dumps({key: value})
        except TypeError as error:
            raise CodecError(f"a row is a text and a value of plain JSON: {error}") from None
        self.rows[key] = merge(self.rows[key], value) if key in self.rows else value
        self.calls += 1


class Plan:
    """The commands of a journal, and a turn of its flusher."""

    def __init__(
        self,
        prefix: str,
        name: str,
        *,
        merge: Merge = add,
        size: int = 500,
        interval: Time = 1.0,
        lease: Time = 30.0,
        reject_on: tuple[type[Exception], ...] = (),
        dead_letters: str = layout.DEAD_LETTERS,
    ) -> None:
        """Plan a journal; its options are the same in every process that uses it."""
        if not name or set(name) & set("{}") or not name.isprintable():
            raise BadName(f"a journal's name is text without braces, not {name!r}")
        self.name = name
        self.merge = merge
        self.stats = Stats()
        self.journal = layout.BEHIND.replace("{name}", "{" + prefix + name + "}")
        self.state = f"{self.journal}:flusher"
        self._size = size
        self._interval = seconds(interval)
        self._lease = seconds(lease)
        if size < 1 or self._interval <= 0 or self._lease <= 0:
            raise CacheError("size, interval and lease are more than 0")
        self.look = min(self._interval, 1.0) / 4  # seconds between two turns
        self._rejected: tuple[type[Exception], ...] = (FlushRejected, *reject_on)
        self._dead_letters = dead_letters
        self._flusher = new_token()

    def journalling(self, gathered: Gathered) -> list[Command]:
        """Return the commands that journal these rows."""
        rows = gathered.rows
        parts = [rows] if len(rows) <= self._size else _parts(rows, self._size)
        return [("XADD", self.journal, "*", "rows", orjson.dumps(part)) for part in parts]

    def turn(self, *, drain: bool = False) -> Turn:
        """Flush a batch that is due, or everything at once; return the seconds until the next."""
        take = self._command(TAKE, 2, self._ms(self._lease), self._size, self._ms(self._interval))
        (reply,) = yield Send([take])
        if not reply[0]:
            return float(min(reply[1] / 1000, self.look))
        _, due, token, last, singly, failures = reply
        if not (token or due or drain):
            return self.look
        rows, end = yield from self._read(last)
        if not rows and not token:
            return self.look
        if not token:
            token = new_token()
            (fixed,) = yield Send([("EVALSHA", FIX.sha, 1, self.state, self._flusher, token, end)])
            if not fixed:
                return 0.0
        flush = Flush(self.name, token.decode(), rows, failures)
        pause: float = yield from self._flushed(flush, last or end, singly=bool(singly))
        return pause

    def leaving(self, pause: float = 0.0, token: str = "", *, singly: bool = False) -> Command:
        """Return the command that gives up the lease, so that nobody has it for some seconds."""
        return (
            "EVALSHA", LEAVE.sha, 1, self.state,
            self._flusher, self._ms(pause), token, "1" if singly else "",
        )  # fmt: skip

    def _read(self, last: bytes) -> Generator[Send, Any, tuple[dict[str, Any], bytes]]:
        """Return the rows of a batch and its last entry; one that is fixed ends at `last`."""
        rows: dict[str, Any] = {}
        start, end, entries = b"-", b"", 0
        while True:
            command = ("XRANGE", self.journal, start, last or "+", "COUNT", PAGE)
            (page,) = yield Send([command])
            for entry, found in map(_entry, page):
                more = sum(key not in rows for key in found)
                if end and not last and (len(rows) + more > self._size or entries >= MOST_ENTRIES):
                    return rows, end
                for key, value in found.items():
                    rows[key] = self.merge(rows[key], value) if key in rows else value
                end, entries = entry, entries + 1
            if len(page) < PAGE:
                return rows, end
            start = b"(" + end

    def _flushed(self, flush: Flush, last: bytes, *, singly: bool) -> Turn:
        try:
            letters = yield from self._called(flush, singly=singly)
        except self._rejected as error:
            LOG.warning("write-behind %s: rejected, trying row by row: %s", self.name, error)
            yield Send([self.leaving(0.0, flush.token, singly=True)])
            return 0.0
        except Exception as error:  # noqa: BLE001 - the user's function may raise any
            self.stats.failures += 1
            pause = _pause(flush.failures)
            LOG.warning("write-behind %s: failed, again in %.1f s: %r", self.name, pause, error)
            yield Send([self.leaving(pause, flush.token)])
            return pause
        if letters:
            yield Send(letters)
        yield Send([self._command(FINISH, 2, flush.token, _following(last), owned=False)])
        self.stats.flushes += 1
        self.stats.rows += len(flush.rows) - len(letters)
        self.stats.rejected += len(letters)
        return 0.0

    def _called(self, flush: Flush, *, singly: bool) -> Generator[Call, Any, Sequence[Command]]:
        """Call the user's function; return the dead letters of rows that it rejected alone."""
        if len(flush.rows) > 1 and not singly:
            yield Call(flush)
            return []
        letters: list[Command] = []
        for one in _rows_of(flush):
            try:
                yield Call(one)
            except self._rejected as error:
                letters.append(letter(self._dead_letters, one, error))
        return letters

    def _command(
        self, script: Script, keys: int, *args: str | bytes | int, owned: bool = True
    ) -> Command:
        who = (self._flusher,) if owned else ()
        return ("EVALSHA", script.sha, keys, self.journal, self.state, *who, *args)

    def _ms(self, time: float) -> int:
        return int(time * 1000)


def _pause(failures: int) -> float:
    """Return the seconds until a batch is tried again."""
    return float(min(LAST_RETRY, FIRST_RETRY * 2 ** min(failures, 10)))


def _parts(rows: Mapping[str, Any], size: int) -> list[Mapping[str, Any]]:
    pairs = list(rows.items())
    return [dict(pairs[at : at + size]) for at in range(0, len(pairs), size)]


def _rows_of(flush: Flush) -> Iterator[Flush]:
    """Yield each row as a batch of its own; all attempts number them alike."""
    for number, (key, value) in enumerate(flush.rows.items()):
        yield Flush(flush.name, f"{flush.token}:{number}", {key: value}, flush.failures)


def _entry(entry: Any) -> tuple[bytes, dict[str, Any]]:
    number, fields = entry
    data = (
        fields[b"rows"] if isinstance(fields, dict) else fields[1]
    )  # a cluster's client has dicts
    return number, orjson.loads(data)


def _following(entry: bytes) -> str:
    """Return the lowest id above an entry's."""
    ms, _, number = entry.decode().partition("-")
    return f"{ms}-{int(number) + 1}"
