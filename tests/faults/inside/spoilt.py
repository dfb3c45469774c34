"""Mistakes that a daemon must not make, to show that the harness would see them."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from invalidator.model import Batch
from invalidator.pipeline.pipeline import Pipeline
from invalidator.sources.source import Source


class Hasty:
    """A source whose batches are acknowledged as soon as they are read."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def read(self, limit: int) -> Batch | None:
        batch = await self._source.read(limit)
        if batch:
            await self._source.settle(batch)
        return batch

    async def settle(self, batch: Batch) -> None:
        """It is already."""


def acknowledge_first() -> None:
    """Acknowledging comes before applying."""
    build = Pipeline.__init__

    @wraps(build)
    def hastily(self: Pipeline, source: Source, *args: Any, **kwargs: Any) -> None:
        build(self, Hasty(source), *args, **kwargs)

    Pipeline.__init__ = hastily  # type: ignore[method-assign]


MISTAKES: Mapping[str, Callable[[], None]] = {"acknowledge-first": acknowledge_first}
