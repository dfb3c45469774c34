"""Fixtures for services that use the cache. pytest loads them wherever invalidator is installed."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from invalidator.cache.memory import Clock, MemoryCache, SyncMemoryCache


@pytest.fixture
def memory_cache() -> "MemoryCache":
    """Return an empty cache for asyncio that needs no Redis."""
    from invalidator.cache.memory import MemoryCache

    return MemoryCache()


@pytest.fixture
def sync_memory_cache() -> "SyncMemoryCache":
    """Return an empty cache for threads that needs no Redis."""
    from invalidator.cache.memory import SyncMemoryCache

    return SyncMemoryCache()


@pytest.fixture
def cache_in_memory() -> Iterator[Callable[[Any], "Clock"]]:
    """Return a function that gives a cache an empty memory for this test, and its clock."""
    from invalidator.cache.memory import in_memory

    with ExitStack() as stack:
        yield lambda cache: stack.enter_context(in_memory(cache))


@pytest.fixture
def isolated_cache() -> Iterator[Callable[[Any], str]]:
    """Return a function that gives a service's cache a prefix of its own for this test."""
    from invalidator.cache.steering import Prefixed, changed

    prefix = f"test:{secrets.token_hex(6)}:"

    def isolate(cache: Any) -> str:
        stack.enter_context(changed(cache, Prefixed(prefix)))
        return prefix

    with ExitStack() as stack:
        yield isolate
