"""A store whose caches are at the edge: no Redis is needed for that."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from invalidator.model import Cause, Failure, Names
from invalidator.rules.rule import Cache
from invalidator.runtime.health import Health
from invalidator.settings import load
from invalidator.targets.build import store_of
from invalidator.targets.store import Store


@asynccontextmanager
async def stored(
    urls: str, secret: str = "", health: Health | None = None, **more: Any
) -> AsyncIterator[Store]:
    """Yield a store with one cache at the edge, `pages`."""
    known = {"edge__urls__pages": urls, **({"edge__secrets__pages": secret} if secret else {})}
    store = store_of(load(**{**known, **more}), health or Health())
    try:
        yield store
    finally:
        await store.close()


async def purge(store: Store, cache: Cache, names: Names) -> Sequence[Failure]:
    """Purge names; return what can never be."""
    application = store.application({cache.name: names}, {cache.name: cache}, Cause("test"))
    outcome = await application.apply_names()
    (ticket,) = outcome.sweeps
    return [*outcome.failures, *await ticket.wait()]


def names_of(*tags: str, urls: Sequence[str] = (), patterns: Sequence[str] = ()) -> Names:
    return Names({*urls}, {*patterns}, {*tags})
