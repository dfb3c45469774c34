"""Collect what a request has read from the cache: for its HTTP headers, and for logs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from msgspec import Struct, field

from invalidator.cache.entry import Names
from invalidator.cache.kinds import Policy
from invalidator.cache.process import Process

FRESH: Final = float("inf")


class Seen(Struct):
    """The entries that were read, taken together."""

    keys: dict[str, None] = field(default_factory=dict)  # in the order of their reads
    stamps: dict[str, None] = field(default_factory=dict)  # and versions: their keys in Redis
    fresh: float = FRESH  # seconds for which all of them still are
    swr: float = FRESH  # seconds for which all may be served stale

    def note(self, key: str, stamps: Sequence[str], fresh: float, swr: float) -> None:
        """Note one more entry; `fresh` is 0 where it was stale, or is not cached at all."""
        self.keys[key] = None
        self.stamps.update(dict.fromkeys(stamps))
        self.fresh = max(0.0, min(self.fresh, fresh))
        self.swr = min(self.swr, swr)


SEEN: ContextVar[Seen | None] = ContextVar("invalidator.cache.seen", default=None)


def tell(names: Names, until: float, here: Process, policy: Policy) -> None:
    """Tell the request that reads, if one watches, when an entry is no longer fresh."""
    if (seen := SEEN.get()) is not None:
        seen.note(names.key, names.stamps, (until - here.now()) / 1000, policy.swr)


@contextmanager
def watching() -> Iterator[Seen]:
    """Collect what is read from any cache within this context, also by tasks begun in it."""
    seen = Seen()
    outer = SEEN.set(seen)
    try:
        yield seen
    finally:
        SEEN.reset(outer)
