"""After a test, Redis holds none of our keys and connections that the test did not declare."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import redis

from invalidator.layout import OFFSETS, OWN, PLACE
from tests.backends.waiting import LIMIT, until_sync


class Leaks:
    """Looks at a Redis before a test, and again after it."""

    def __init__(self, client: redis.Redis, *, connections: bool) -> None:
        self.client = client
        self.allowed = [re.sub("{.*", "*", name) for name in (PLACE, OFFSETS)]  # they stay
        self._watched = connections  # a server that others use too has connections of theirs
        self._before = self._connections()

    def check(self, within: float = LIMIT) -> None:
        """Fail if the test left something behind; connections may take a moment to close."""
        left = self._undeclared(self.client.scan_iter(match=f"{OWN}*", count=1000))
        assert not left, f"keys left in Redis: {left}; if they shall stay, allow_keys(...) them"
        if self._watched:
            until_sync(self._all_closed, within, "every connection of the test is closed")

    def _undeclared(self, keys: Iterable[bytes]) -> list[str]:
        names = sorted(key.decode(errors="replace") for key in keys)
        return [name for name in names if not any(fnmatchcase(name, ok) for ok in self.allowed)]

    def _all_closed(self) -> bool:
        return self._connections() <= self._before

    def _connections(self) -> set[str]:
        return {entry["id"] for entry in self.client.client_list()}
