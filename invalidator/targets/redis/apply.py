"""One cache of the rules: its keys, tags, versions and patterns, in the layout they say."""

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from invalidator.model import Failure, Kind, Names, Outcome
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server
from invalidator.rules.rule import Cache
from invalidator.runtime import metrics
from invalidator.targets.pace import Unlinking
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.protect import protected
from invalidator.targets.redis.sweep import Progress
from invalidator.targets.redis.sweep import Ticket as Sweep
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.tag_work import Unlink
from invalidator.targets.redis.tags import Layout
from invalidator.targets.redis.topology import tags_on, versions_on


class Ticket(Struct, frozen=True):
    """A sweep, and for which cache it was asked."""

    cache: str
    sweep: Sweep

    async def wait(self) -> Sequence[Failure]:
        """Keys that matched and could not be deleted are told by themselves: no event named them.

        All who wait for one sweep are given one list, for each cache.
        """
        progress = await self.sweep.wait()
        if self.cache not in progress.told:
            progress.told[self.cache] = self._failures(progress)
        return progress.told[self.cache]

    def _failures(self, progress: Progress) -> Sequence[Failure]:
        told = [
            Failure(self.cache, "keys", key.decode(errors="backslashreplace"), v.code, v.message)
            for key, v in progress.failed.items()
        ]
        if more := progress.refused - len(told):
            last = told[-1]
            told.append(
                Failure(self.cache, "keys", f"{more:,} more keys", last.error, last.message)
            )
        return told


class CacheStore:
    """Makes one cache forget names. Everything here may be repeated."""

    def __init__(
        self,
        cache: Cache,
        server: Server,
        keys: Unlinking,
        sweeper: Sweeper,
        members: Unlink | None = None,
    ) -> None:
        """`members` deletes what belongs to tags, if that differs from how keys are deleted."""
        self.name = cache.name
        self._keys = keys
        self._sweeper = sweeper
        self.tags = tags_on(server, layouts(cache), members or keys.unlink)
        self._versions = versions_on(server, cache.version)

    async def apply(self, names: Names, outcome: Outcome) -> None:
        """Add to the outcome. Raises Unavailable; then it may be called again."""
        # Asked for first: a sweep may begin while keys are deleted.
        if names.patterns:
            patterns = {pattern.encode() for pattern in names.patterns}
            outcome.sweeps.append(Ticket(self.name, self._sweeper.request(patterns)))
        stamps = self.tags.stamps(names.tags)
        if keys := [*names.keys, *stamps]:
            existed, failed = await self._keys.unlink(keys)
            outcome.existed += existed
            self._note("tags", {stamps[k]: v for k, v in failed.items() if k in stamps}, outcome)
            self._note("keys", {k: v for k, v in failed.items() if k in names.keys}, outcome)
        if names.tags:
            consumed = await self.tags.consume(names.tags)
            outcome.existed += consumed.existed
            self._note("tags", consumed.failed, outcome)
        if names.versions:
            self._note("versions", await self._versions.bump(names.versions), outcome)
        _count(self.name, names)

    def _note(self, kind: Kind, failed: dict[str, Verdict], outcome: Outcome) -> None:
        outcome.failures += [
            Failure(self.name, kind, name, verdict.code, verdict.message)
            for name, verdict in failed.items()
        ]


def layouts(cache: Cache) -> list[Layout]:
    """How the cache keeps its tags, as the store reads it."""
    return [
        Layout(kept.kind, kept.key, cache.prefix if kept.members == "relative" else "")
        for kept in cache.layouts
    ]


def spared(caches: Collection[Cache], more: Iterable[str] = ()) -> Matcher:
    """What no sweep deletes where they live: members of a tag are found by its set only."""
    kept = [template for cache in caches for template in _templates(cache)]
    return protected(kept, [*(glob for cache in caches for glob in cache.protect), *more])


def _templates(cache: Cache) -> list[str]:
    return [layout.key for layout in layouts(cache)] + [cache.version]


def _count(cache: str, names: Names) -> None:
    for kind, count in (
        ("keys", len(names.keys)),
        ("patterns", len(names.patterns)),
        ("tags", len(names.tags)),
        ("versions", len(names.versions)),
    ):
        if count:
            metrics.NAMES.labels(cache, kind).inc(count)
