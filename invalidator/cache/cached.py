"""Cached functions: called as before, with their entries' names and writers beside them."""

import inspect
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from invalidator.cache.base import Missing
from invalidator.cache.entry import Names
from invalidator.cache.errors import BadName
from invalidator.cache.l1 import Nothing
from invalidator.cache.process import Spec
from invalidator.cache.render import Render
from invalidator.errors import Rejected

if TYPE_CHECKING:
    from invalidator.cache.cache import Cache, Writing
    from invalidator.cache.sync_cache import SyncCache, SyncWriting

P = ParamSpec("P")
R = TypeVar("R")


class _Named(Generic[P]):
    """A function whose arguments name an entry."""

    def __init__(self, function: Callable[P, Any], render: Render, spec: Spec) -> None:
        self._function = function
        self._render = render
        self._spec = spec
        update_wrapper(self, function)  # type: ignore[arg-type]

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the entry's name in Redis, as the daemon's rules render it."""
        return self._names(args, kwargs).key

    def _names(self, args: Any, kwargs: Any) -> Names:
        return Names(*self._rendered(args, kwargs))

    def _rendered(self, args: Any, kwargs: Any) -> tuple[str, tuple[str, ...]]:
        try:
            return self._render(*args, **kwargs)
        except Rejected as error:
            raise BadName(f"{error.what}: {error}") from None

    def __repr__(self) -> str:
        return f"<cached {self._function.__qualname__}>"


class Cached(_Named[P], Generic[P, R]):
    """A cached coroutine function."""

    def __init__(
        self,
        cache: "Cache",
        function: Callable[P, Awaitable[Any]],
        render: Render,
        spec: Spec,
    ) -> None:
        super().__init__(function, render, spec)
        self._cache = cache
        if hasattr(inspect, "markcoroutinefunction"):  # from Python 3.12 on
            inspect.markcoroutinefunction(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key, stamps = self._rendered(args, kwargs)
        if (l1 := self._cache.near) is not None:
            copy: R | Nothing = l1.look(key, stamps, self._spec)
            if not isinstance(copy, Nothing):
                return copy
        names, function = Names(key, stamps), self._function
        value: R = await self._cache.driver.read(
            names, self._spec, lambda _: function(*args, **kwargs)
        )
        return value

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Delete the entry; raise CacheUnavailable if it may still be there."""
        await self._cache.delete(self.key(*args, **kwargs))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Delete the entry, and load it anew."""
        await self.invalidate(*args, **kwargs)
        return await self(*args, **kwargs)

    async def expire(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """End the value's freshness: it stays for those who may serve stale values."""
        await self._cache.soften(self.key(*args, **kwargs))

    async def peek(self, *args: P.args, **kwargs: P.kwargs) -> R | Missing:
        """Return what is cached, or MISSING; never load."""
        found: R | Missing = await self._cache.look(self._names(args, kwargs), self._spec)
        return found

    def writing(self, *args: P.args, **kwargs: P.kwargs) -> "Writing":
        """Return a context for the transaction that writes what this function reads."""
        return self._cache.writing_to(self._names(args, kwargs), self._spec)


class SyncCached(_Named[P], Generic[P, R]):
    """A cached function."""

    def __init__(
        self, cache: "SyncCache", function: Callable[P, Any], render: Render, spec: Spec
    ) -> None:
        super().__init__(function, render, spec)
        self._cache = cache

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key, stamps = self._rendered(args, kwargs)
        if (l1 := self._cache.near) is not None:
            copy: R | Nothing = l1.look(key, stamps, self._spec)
            if not isinstance(copy, Nothing):
                return copy
        names, function = Names(key, stamps), self._function
        value: R = self._cache.driver.read(names, self._spec, lambda _: function(*args, **kwargs))
        return value

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Delete the entry; raise CacheUnavailable if it may still be there."""
        self._cache.delete(self.key(*args, **kwargs))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Delete the entry, and load it anew."""
        self.invalidate(*args, **kwargs)
        return self(*args, **kwargs)

    def expire(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """End the value's freshness: it stays for those who may serve stale values."""
        self._cache.soften(self.key(*args, **kwargs))

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> R | Missing:
        """Return what is cached, or MISSING; never load."""
        found: R | Missing = self._cache.look(self._names(args, kwargs), self._spec)
        return found

    def writing(self, *args: P.args, **kwargs: P.kwargs) -> "SyncWriting":
        """Return a context for the transaction that writes what this function reads."""
        return self._cache.writing_to(self._names(args, kwargs), self._spec)
