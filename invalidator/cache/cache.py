"""The cache for asyncio."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, overload

from invalidator.cache.annotations import returned
from invalidator.cache.asyncio_driver import Driver, LoadContext
from invalidator.cache.backplane import Announced
from invalidator.cache.base import MISSING, Base, Missing, Write, WritePlan
from invalidator.cache.cached import Cached
from invalidator.cache.client import TIMEOUT, client_of
from invalidator.cache.codecs import Codec, json_codec
from invalidator.cache.entry import Names
from invalidator.cache.errors import CacheUnavailable
from invalidator.cache.kinds import Kind
from invalidator.cache.loading import Loaded
from invalidator.cache.many import Results, read_many
from invalidator.cache.near import driver_of
from invalidator.cache.process import Spec
from invalidator.cache.scripts import Command
from invalidator.cache.servers import server_of
from invalidator.cache.warming import CHUNK, Progress, chunks

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


class Decorator(Protocol):
    """Makes a cached function of one that returns a value, or a value in `Loaded`."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[Loaded[T]]]) -> Cached[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[T]]) -> Cached[P, T]: ...


class Cache(Base):
    """A cache on one Redis, whose client is redis.asyncio's: Redis or RedisCluster."""

    def __init__(self, client: Any, *, timeout: float | None = None, **options: Any) -> None:
        """Make a cache; the options are those of `Base`.

        No command takes longer than `timeout` seconds, besides what the client's own settings say.
        """
        super().__init__(**options)
        self._client = client
        server = server_of(client, timeout)
        self.driver = driver_of(self, client, server, self._here, self.breaker, self._loads)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a cache with a client of its own, which gives up soon where Redis is silent."""
        return cls(client_of(url, asynchronous=True), **{"timeout": TIMEOUT, **options})

    async def close(self) -> None:
        """End what runs in the background, and close the client."""
        await self.driver.close()
        await self._client.aclose()

    # --- reading --------------------------------------------------------------------------------

    def cached(
        self,
        key: str,
        *,
        kind: str | Kind = "default",
        tags: Sequence[str] = (),
        versions: Sequence[str] = (),
        codec: Codec | None = None,
        schema: int | None = None,
    ) -> Decorator:
        """Cache what a function returns, under a key that names its arguments."""

        def decorate(function: Any) -> Any:
            render = self.renderer(function, key, tags, versions)
            spec = self.spec(kind, codec or json_codec(returned(function)), schema, key)
            return Cached(self, function, render, spec)

        return decorate

    async def get_or_load(
        self,
        key: str,
        loader: Callable[[LoadContext], Awaitable[T | Loaded[T]]],
        *,
        kind: str | Kind = "default",
        tags: Sequence[str] = (),
        versions: Sequence[str] = (),
        codec: Codec | None = None,
    ) -> T:
        """Return an entry's value, from the cache or from its loader."""
        names = self.names(key, tags, versions)
        value: T = await self.driver.read(names, self.spec(kind, codec), loader)
        return value

    async def get_many(
        self,
        wanted: Mapping[str, A],
        load_many: Callable[[dict[str, A]], Awaitable[Mapping[str, T | Loaded[T]]]],
        *,
        kind: str | Kind = "default",
        tags: Sequence[str] = (),
        versions: Sequence[str] = (),
        codec: Codec | None = None,
    ) -> dict[str, T]:
        """Return the values of many entries by key: one read, and one load of what is missing.

        `wanted` gives for each key what the loader is told about it. A key that the loader leaves
        out is remembered as absent: its value is None.
        """
        spec = self.spec(kind, codec)
        names = {key: self.names(key, tags, versions) for key in wanted}

        async def load(keys: Sequence[str]) -> Mapping[str, Any]:
            return await load_many({key: wanted[key] for key in keys})

        results: Results = await self.driver.drive(read_many(names, spec, self._here), load)

        async def read_one(key: str) -> Any:
            async def load_one(_: LoadContext) -> Any:
                return (await load([key])).get(key)

            return await self.driver.read(names[key], spec, load_one)

        reads = map(read_one, results.left)
        values = dict(zip(results.left, await asyncio.gather(*reads), strict=True))
        return {key: values[key] if key in values else results.values[key] for key in wanted}

    async def peek(
        self,
        key: str,
        *,
        kind: str | Kind = "default",
        tags: Sequence[str] = (),
        versions: Sequence[str] = (),
        codec: Codec | None = None,
    ) -> Any | Missing:
        """Return what is cached, or MISSING; never load."""
        return await self.look(self.names(key, tags, versions), self.spec(kind, codec))

    async def look(self, names: Names, spec: Spec) -> Any | Missing:
        try:
            found = await self.driver.get(names.keys)
            fitting = names.fitting(found[0])
            if fitting is not names:
                found = await self.driver.get(fitting.keys)
        except CacheUnavailable:
            return MISSING
        return self._seen(fitting, spec, found)

    async def warm(
        self,
        wanted: Mapping[str, A],
        load_many: Callable[[dict[str, A]], Awaitable[Mapping[str, T | Loaded[T]]]],
        *,
        kind: str | Kind = "default",
        concurrency: int = 4,
        progress: Callable[[Progress], object] = lambda _: None,
        **more: Any,
    ) -> Progress:
        """Load what is missing of many entries, some at a time, each under its lease."""
        done = Progress(len(wanted))
        permits = asyncio.Semaphore(concurrency)

        async def load(part: dict[str, A]) -> Mapping[str, Any]:
            done.loaded += len(part)
            return await load_many(part)

        async def warm_part(part: dict[str, A]) -> None:
            async with permits:
                await self.get_many(part, load, kind=kind, **more)
            done.seen += len(part)
            progress(done)

        await asyncio.gather(*(warm_part(part) for part in chunks(wanted, CHUNK)))
        return done

    # --- invalidating ---------------------------------------------------------------------------

    async def invalidate(self, *keys: str, quiet: bool = False) -> bool:
        """Delete entries. Raise CacheUnavailable if they may still be there; `quiet`: say False."""
        names = [self.names(key).key for key in keys]
        return await self._done(self._unlinks(names), "keys", names, quiet)

    async def invalidate_tags(self, *tags: str, quiet: bool = False) -> bool:
        """Invalidate every entry that carries one of these tags."""
        return await self._done(self._unlinks(self.stamps(tags)), "tags", tags, quiet)

    async def bump(self, *versions: str, quiet: bool = False) -> bool:
        """Raise versions, which invalidates every entry that depends on one of them."""
        return await self._done(self._bumps(versions), "versions", versions, quiet)

    async def expire(self, *keys: str, quiet: bool = False) -> bool:
        """End values' freshness: they stay for those who may serve stale values."""
        names = [self.names(key).key for key in keys]
        return await self._done(self._expires(names), "keys", names, quiet)

    async def delete(self, key: str) -> None:
        await self.driver.change(self._unlinks([key]), "keys", [key])

    async def soften(self, key: str) -> None:
        await self.driver.change(self._expires([key]), "keys", [key])

    async def _done(
        self, commands: Sequence[Command], kind: Announced, names: Sequence[str], quiet: bool
    ) -> bool:
        try:
            if commands:
                await self.driver.change(commands, kind, names)
        except CacheUnavailable:
            if not quiet:
                raise
            return False
        return True

    # --- writing through ------------------------------------------------------------------------

    def writing(
        self,
        key: str,
        *,
        kind: str | Kind = "default",
        tags: Sequence[str] = (),
        versions: Sequence[str] = (),
        codec: Codec | None = None,
    ) -> "Writing":
        """Return a context for a transaction that writes an entry's row."""
        return self.writing_to(self.names(key, tags, versions), self.spec(kind, codec))

    def writing_to(self, names: Names, spec: Spec) -> "Writing":
        return Writing(self.driver, WritePlan(names, spec, self._here))

    async def set(
        self,
        key: str,
        value: Any,
        *,
        version: int | None = None,
        kind: str | Kind = "default",
        codec: Codec | None = None,
    ) -> bool:
        """Replace an older value that is cached, by the row's version; else drop what is there.

        Return whether the value was cached. Without a version, raise UnsafeSet.
        """
        spec = self.spec(kind, codec)
        names = self.names(key)
        command = self._replacing(names, value, version, spec)
        (reply,) = await self.driver.change([command], "keys", [names.key])
        return bool(reply == 1)

    async def refresh(
        self,
        key: str,
        loader: Callable[[LoadContext], Awaitable[T | Loaded[T]]],
        **options: Any,
    ) -> T:
        """Delete an entry, and load it anew; the options are those of `get_or_load`."""
        await self.invalidate(key)
        return await self.get_or_load(key, loader, **options)


class Writing:
    """Around a transaction: a lease before it; after it the value is filled, or dropped."""

    def __init__(self, driver: Driver, plan: WritePlan) -> None:
        self._driver = driver
        self._plan = plan

    async def __aenter__(self) -> Write:
        with suppress(CacheUnavailable):  # then the entry is dropped after the transaction
            self._plan.began(await self._driver.send(self._plan.before()))
        return self._plan.write

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            await self._driver.change_whatever_happens(self._plan.after(), self._plan.key)
            return
        with suppress(CacheUnavailable):  # the transaction's own error matters more
            await self._driver.change_whatever_happens(self._plan.dropping(), self._plan.key)
