"""One cache of the rules: its keys, tags, versions and patterns, in its layouts."""

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from invalidator import layout
from invalidator.model import KINDS, Failure, Kind, Names, Outcome
from invalidator.redisclient import Cluster, Reply
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Call, Server, ask_each
from invalidator.rules.rule import Cache
from invalidator.runtime import metrics
from invalidator.targets.pace import Unlinking
from invalidator.targets.redis import scripts
from invalidator.targets.redis.patterns import Matcher, protected
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.tag_work import Unlink
from invalidator.targets.redis.tags import Layout, stamps, tags_on
from invalidator.targets.redis.walk import Progress
from invalidator.targets.redis.walk import Ticket as Sweep


class Ticket(Struct, frozen=True):
    """A sweep, and the cache that asked for it."""

    cache: str
    sweep: Sweep

    async def wait(self) -> Sequence[Failure]:
        """Return a failure for each key that matched and could not be deleted.

        All who wait for one sweep are given one list for each cache.
        """
        progress = await self.sweep.wait()
        if self.cache not in progress.reported:
            progress.reported[self.cache] = self._failures(progress)
        return progress.reported[self.cache]

    def _failures(self, progress: Progress) -> Sequence[Failure]:
        failures = [
            Failure(self.cache, "keys", key.decode(errors="backslashreplace"), v.code, v.message)
            for key, v in progress.failed.items()
        ]
        if more := progress.refused - len(failures):
            last = failures[-1]
            failures.append(
                Failure(self.cache, "keys", f"{more:,} more keys", last.error, last.message)
            )
        return failures


class CacheStore:
    """Invalidates names in one cache. Everything here may be repeated."""

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
        self._layouts = layouts(cache)
        self.tags = tags_on(server, self._layouts, members or keys.unlink)
        per_call = 1 if isinstance(server.client, Cluster) else PER_CALL
        self._versions = Versions(server, cache.version, per_call=per_call)

    async def apply(self, names: Names) -> Outcome:
        """Invalidate them. Raises Unavailable; then it may be called again."""
        outcome = Outcome()
        # Asked for first: a sweep may begin while keys are deleted.
        if names.patterns:
            patterns = {pattern.encode() for pattern in names.patterns}
            outcome.sweeps.append(Ticket(self.name, self._sweeper.request(patterns)))
        tag_stamps = stamps(self._layouts, names.tags) if names.tags else {}
        if keys := [*names.keys, *tag_stamps]:
            outcome.existed, failed = await self._keys.unlink(keys)
            for key, verdict in failed.items():
                if key in tag_stamps:
                    outcome.failures.append(self._failure("tags", tag_stamps[key], verdict))
                if key in names.keys:
                    outcome.failures.append(self._failure("keys", key, verdict))
        if names.tags:
            consumed = await self.tags.consume(names.tags)
            outcome.existed += consumed.existed
            outcome.failures += [self._failure("tags", *each) for each in consumed.failed.items()]
        if names.versions:
            refused = await self._versions.bump(names.versions)
            outcome.failures += [self._failure("versions", *each) for each in refused.items()]
        _count(self.name, names)
        return outcome

    def _failure(self, kind: Kind, name: str, verdict: Verdict) -> Failure:
        return Failure(self.name, kind, name, verdict.code, verdict.message)


def layouts(cache: Cache) -> list[Layout]:
    """Return how the cache keeps its tags."""
    return [
        Layout(kept.kind, kept.key, cache.prefix if kept.members == "relative" else "")
        for kept in cache.layouts
    ]


def spared(caches: Collection[Cache], more: Iterable[str] = ()) -> Matcher:
    """Match what no sweep deletes on the Redis of these caches."""
    templates = [kept.key for cache in caches for kept in cache.layouts]
    templates += [cache.version for cache in caches]
    return protected(templates, [*(glob for cache in caches for glob in cache.protect), *more])


def _count(cache: str, names: Names) -> None:
    for kind in KINDS:
        if count := len(getattr(names, kind)):
            metrics.NAMES.labels(cache, kind).inc(count)


BUMP = scripts.load("bump")
PER_CALL = 100  # versions; half a millisecond of the server's time


class Versions:
    """Raises the versions of one cache: keys built with an old number are never read again."""

    def __init__(
        self, server: Server, template: str = layout.VERSION, *, per_call: int = PER_CALL
    ) -> None:
        """`per_call` is 1 on a cluster, where a script's keys must share a slot."""
        self._server = server
        self._template = template
        self._per_call = per_call
        self._highest = 0  # that was ever raised here

    async def bump(self, names: Collection[str]) -> dict[str, Verdict]:
        """Raise each of them; return those that can never be raised. Raises Unavailable."""
        answers = await ask_each(list(names), self._attempt, together=self._per_call)
        return answers.failed

    async def _attempt(self, groups: Sequence[Sequence[str]]) -> list[Reply]:
        calls = [Call([self._key(name) for name in group], [self._highest]) for group in groups]
        replies = await self._server.run(BUMP, calls)
        for reply in replies:
            raised = reply if isinstance(reply, list) else ()
            self._highest = max(self._highest, *(r for r in raised if isinstance(r, int)), 0)
        return replies

    def _key(self, name: str) -> bytes:
        return self._template.replace("{name}", name).encode()
