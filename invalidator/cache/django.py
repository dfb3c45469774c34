"""Django: a backend for CACHES, and invalidation after the commit.

    CACHES = {
        "default": {
            "BACKEND": "invalidator.cache.django.Backend",
            "LOCATION": "redis://127.0.0.1:6379/0",
            "KEY_PREFIX": "shop",
        }
    }

`get_or_set` loads under a lease: what it caches is never older than an invalidation of the key.
`set` is for what is not read from a database, such as sessions.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import transaction

from invalidator.cache.base import MISSING
from invalidator.cache.codecs import pickle_codec
from invalidator.cache.entry import Names, new_token
from invalidator.cache.errors import CacheError, CacheUnavailable
from invalidator.cache.filling import framed
from invalidator.cache.kinds import Kind
from invalidator.cache.loading import Loaded
from invalidator.cache.sync_cache import SyncCache

FOREVER = 10 * 365 * 86400.0  # seconds: every entry expires


def invalidate_on_commit(
    invalidate: Callable[..., object],
    *args: Any,
    using: str | None = None,
    robust: bool = False,
    **kwargs: Any,
) -> None:
    """Call `get_order.invalidate`, `cache.bump` or the like when the transaction is committed.

    If it fails, whoever left the transaction gets its error; with `robust`, Django logs it.
    """
    transaction.on_commit(lambda: invalidate(*args, **kwargs), using=using, robust=robust)


class Backend(BaseCache):  # type: ignore[misc]
    """One Redis; OPTIONS are fields of `Kind`, such as `lease` and `stale_if_error`."""

    def __init__(self, server: str, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._cache = _shared(server)
        self._options = {"jitter": 0.0, **params.get("OPTIONS", {})}
        self._codec = pickle_codec()

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self.get_many([key], version).get(key, default)

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        names = {key: self._names(key, version) for key in keys}
        try:
            entries = self._cache.driver.get([each.key for each in names.values()]) if names else []
        except CacheUnavailable:
            return {}
        spec = self._cache.spec(Kind(**self._options), self._codec)
        found = {
            key: self._cache._seen(each, spec, [entry])
            for (key, each), entry in zip(names.items(), entries, strict=True)
        }
        return {key: value for key, value in found.items() if value is not MISSING}

    def get_or_set(
        self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Return what is cached, or load it: `default` is a function, called under a lease."""
        load = default if callable(default) else lambda: default
        kind = self._kind(timeout)
        if kind is None:
            return load()
        name = self._names(key, version).key
        return self._cache.get_or_load(name, lambda _: load(), kind=kind, codec=self._codec)

    async def aget_or_set(
        self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        return await sync_to_async(self.get_or_set)(key, default, timeout, version)

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        self._put(key, value, timeout, version)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        return self._put(key, value, timeout, version, "NX")

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give what is cached a new lifetime; it is dropped if it changes meanwhile."""
        kind = self._kind(timeout)
        if kind is None:
            return self.delete(key, version)
        with self._cache.writing(self._names(key, version).key, kind=kind, codec=self._codec) as w:
            w.value = self.get(key, MISSING, version)
        return w.value is not MISSING

    def delete(self, key: str, version: int | None = None) -> bool:
        (deleted,) = self._cache.driver.send([("UNLINK", self._names(key, version).key)])
        return bool(deleted)

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        self._cache.invalidate(*(self._names(key, version).key for key in keys))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        raise CacheError(
            f"incr({key!r}) would lose counts: any invalidation deletes a cached number. Count"
            " with invalidator.cache.behind.SyncWriteBehind, or with INCRBY under a key of its own"
        )

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self.incr(key, delta, version)

    def clear(self) -> None:
        """Delete the keys of this backend alone, which therefore needs a KEY_PREFIX."""
        if not self.key_prefix:
            raise CacheError("clear() deletes what begins with KEY_PREFIX: give this cache one")
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self.key_prefix) + ":*"
        for key in self._cache._client.scan_iter(match=pattern, count=1000):
            self._cache.invalidate(key.decode())

    def _put(self, key: str, value: Any, timeout: Any, version: int | None, *more: str) -> bool:
        kind, name = self._kind(timeout), self._names(key, version).key
        if kind is None:
            return self._cache.invalidate(name)
        spec = self._cache.spec(kind, self._codec)
        entry, kept = framed(Loaded(value), None, b"", new_token(), spec, self._cache._here)
        (done,) = self._cache.driver.send([("SET", name, entry, "PX", int(1000 * kept), *more)])
        return done is not None

    def _kind(self, timeout: Any) -> Kind | None:
        """Return how an entry is kept; None: not at all."""
        given = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        ttl = FOREVER if given is None else float(given)
        return Kind(**{**self._options, "ttl": ttl, "negative_ttl": ttl}) if ttl > 0 else None

    def _names(self, key: str, version: int | None) -> Names:
        return self._cache.names(self.make_and_validate_key(key, version=version))


@cache
def _shared(url: str) -> SyncCache:
    """Return the cache of this process: Django makes a backend for each thread."""
    return SyncCache.from_url(url)
