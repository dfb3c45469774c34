"""Tell people who watch what is applied right now. It costs nothing while nobody does."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from invalidator.model import KINDS, Names

WAITING: Final = 200  # messages that wait for one watcher; further ones are left out
SHOWN: Final = 20  # names in one message

Watcher = asyncio.Queue[dict[str, Any]]


class Tail:
    """Tells watchers what one pipeline applies."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.watchers: set[Watcher] = set()

    def tell(self, caches: Mapping[str, Names], now: float) -> None:
        """Tell all watchers; none of them is waited for."""
        for cache, names in caches.items() if self.watchers else ():
            for kind in KINDS:
                if found := getattr(names, kind):
                    self._send(cache, kind, sorted(found)[:SHOWN], len(found), now)

    def _send(self, cache: str, kind: str, names: list[str], count: int, now: float) -> None:
        said = {"time": round(now, 3), "source": self._source, "cache": cache, "kind": kind}
        for watcher in self.watchers:
            if watcher.qsize() < WAITING:
                watcher.put_nowait({**said, "names": names, "more": count - len(names)})
