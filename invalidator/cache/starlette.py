"""Starlette and FastAPI: a cache that lives as long as the app."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from starlette.requests import HTTPConnection

from invalidator.cache.behind import WriteBehind
from invalidator.cache.cache import Cache

Lifespan = Callable[[object], AbstractAsyncContextManager[Mapping[str, Cache]]]


def lifespan(cache: Cache, *journals: WriteBehind) -> Lifespan:
    """Return the `lifespan` of an app: journals flush while it runs, and are drained at its end."""

    @asynccontextmanager
    async def living(_: object) -> AsyncIterator[Mapping[str, Cache]]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(cache.close)
            for journal in journals:
                await stack.enter_async_context(journal)
            yield {"cache": cache}

    return living


def cache_of(connection: HTTPConnection) -> Cache:
    """Return the cache of the app that serves a request: for `Depends` of FastAPI, or by hand."""
    cache: Cache = connection.state.cache
    return cache
