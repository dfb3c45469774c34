"""One load: what its loader may say about the value, and who else waits for it."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from invalidator.cache.errors import CacheError
from invalidator.cache.kinds import Time
from invalidator.cache.scripts import STAMP, Command

if TYPE_CHECKING:
    from invalidator.cache.asyncio_driver import LoadContext
    from invalidator.cache.thread_driver import SyncLoadContext

T = TypeVar("T")


class Loaded(Struct, Generic[T], frozen=True):
    """A loaded value, with what only the value knows."""

    value: T
    ttl: Time | None = None
    version: int = 0  # of the row: an older one never replaces it
    tags: Sequence[str] = ()


class Load:
    """What one load has taken, and what its loader adds: the base of both worlds' contexts."""

    def __init__(
        self, stamp: str, lifetime_ms: int, taken: dict[str, bytes], token: bytes = b""
    ) -> None:
        self.within = (*_tokens(), token)  # of the loads whose loaders called this one
        self.stamp = stamp  # the template of a stamp's key
        self.lifetime_ms = lifetime_ms
        self.taken = taken  # stamps and versions, read before the load
        self.noted: list[str] = []  # those that the loader named
        self.cacheable = True

    def note(self, tags: Sequence[str]) -> list[str]:
        """Note tags by their keys; return those whose stamps have not been taken."""
        names = [self.stamp.replace("{tag}", tag) for tag in tags]
        self.noted += [name for name in names if name not in self.noted]
        return [name for name in names if name not in self.taken]

    def commands(self, names: Sequence[str], token: bytes) -> list[Command]:
        return [STAMP(name, token, self.lifetime_ms) for name in names]

    def took(self, names: Sequence[str], stamps: Sequence[bytes]) -> None:
        self.taken.update(zip(names, stamps, strict=True))


class Outcome(Struct):
    """How a load ended."""

    value: Any = None
    error: BaseException | None = None
    shared: bool = True  # others of this process may take it as their own
    cached: bool = False
    until: float = 0.0  # ms of Redis's clock at which it is no longer fresh


class Flight(Struct):
    """A load that runs in this process, under a lease."""

    token: bytes
    line: bytes | None  # the stamps that it took
    outcome: Outcome | None = None
    followers: int = 0
    ended: Any = None  # what the driver lets others wait for


CURRENT: ContextVar[Any] = ContextVar("invalidator.cache.load")


def current_load() -> "LoadContext":
    """Return the context of the load that a cached coroutine function runs in."""
    return _current()  # type: ignore[no-any-return]


def current_sync_load() -> "SyncLoadContext":
    """Return the context of the load that a cached function runs in."""
    return _current()  # type: ignore[no-any-return]


def waits_for_itself(token: bytes) -> bool:
    """Return whether the load under this token is what the caller is a part of."""
    return token in _tokens()


def _tokens() -> tuple[bytes, ...]:
    load: Load | None = getattr(CURRENT.get(None), "load", None)
    return load.within if load else ()


def _current() -> Any:
    try:
        return CURRENT.get()
    except LookupError:
        raise CacheError("no load is running: this is for the body of a cached function") from None
