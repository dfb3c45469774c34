"""Loading under a lease, and putting what was loaded."""

import random
from collections.abc import Sequence
from typing import Any, Final

from invalidator.cache import codecs
from invalidator.cache.codecs import NONE
from invalidator.cache.entry import Frame, Names, fresh_until, new_token
from invalidator.cache.errors import CacheUnavailable, NotFound
from invalidator.cache.kinds import Policy, seconds
from invalidator.cache.loading import Load, Loaded, Outcome
from invalidator.cache.process import Process, Spec
from invalidator.cache.requests import Call, Send, Steps
from invalidator.cache.scripts import DONE, OLDER, PUT, RELEASE, STAMP, VERSION, Command

RECORD: Final = 6  # leases that a lease's record lives: a slow load may still be put
SHORTEST_LEASE: Final = 1.0  # seconds


class Filling:
    """A load under a lease that was granted."""

    def __init__(self, names: Names, spec: Spec, here: Process, token: bytes) -> None:
        self.names = names
        self.spec = spec
        self.policy = spec.policy
        self.here = here
        self.token = token

    def steps(self, stamps: Sequence[bytes]) -> Steps:
        """Load, and put what was loaded; the steps return the value."""
        here, load = self.here, self._load(stamps)
        self.spec.stats.loads += 1
        try:
            began = here.timer()
            loaded, absent = yield from self._call(load)
            # A load that named tags on its way is no answer for those who joined it before.
            outcome = Outcome(loaded.value, absent, shared=not load.noted)
            if not load.cacheable:
                yield from self._release(0)
                return outcome
            took = (here.timer() - began) * 1000
            self.spec.stats.took(took)
            line = self._line(load)
            entry, ttl = framed(loaded, absent, line, self.token, self.spec, here, took=took)
        except GeneratorExit:  # dropped: the lease runs out by itself
            raise
        except BaseException as error:
            self.spec.stats.failed += 1
            pause = self.policy.cooldown if isinstance(error, Exception) else 0.0
            yield from self._release(int(1000 * pause))
            raise
        outcome.cached = yield from self._put(entry, ttl)
        outcome.until = fresh_until(entry) if outcome.cached else 0.0
        return outcome

    def _load(self, stamps: Sequence[bytes]) -> Load:
        taken = dict(zip(self.names.stamps, stamps, strict=True))
        return Load(self.here.stamp, self.policy.stamp_ms, taken, self.token)

    def _call(self, load: Load) -> Steps:
        """Call the loader; the answer is what it loaded, and that it found nothing.

        A stamp must be taken before the load that depends on it: where a tag is new, call it again.
        """
        again = False
        while True:
            load.noted.clear()
            try:
                loaded = yield Call(load)
            except NotFound as error:
                return Loaded(None), error
            if not isinstance(loaded, Loaded):
                return Loaded(loaded), None
            missing = load.note(loaded.tags)
            if missing and again:  # others than the first time
                load.cacheable = False
            if not missing or not load.cacheable:
                return loaded, None
            load.took(missing, (yield Send(load.commands(missing, new_token()))))
            again = True

    def _line(self, load: Load) -> bytes:
        """Return the entry's line of stamps, and remember the names in it."""
        names = self.names
        if load.noted or names.extra:
            declared = names.declared
            noted = tuple(name for name in load.noted if name not in declared)
            self.names = names = Names(names.key, declared, noted)
            self.spec.tagging |= bool(noted)
            self.here.learnt(names)
        line = names.line([load.taken[name] for name in names.stamps])
        assert line is not None
        return line

    def _put(self, entry: bytes, ttl: float) -> Steps:
        """Put the entry; the answer says whether it was put. A failure is the cache's alone."""
        stats = self.spec.stats
        if ttl <= 0 or len(entry) > self.policy.max_bytes:
            stats.too_large += ttl > 0
            yield from self._release(0)
            return False
        try:
            put = PUT(self.names.key, self.token, entry, int(ttl * 1000))
            reply, *_ = yield Send([put, *prolongs(self.names, ttl, self.policy, self.here)])
        except CacheUnavailable:
            return False
        stats.puts += reply == DONE
        stats.older += reply == OLDER
        stats.refused += reply not in (DONE, OLDER)
        return reply == DONE

    def _release(self, pause_ms: int) -> Steps:
        try:
            yield Send([RELEASE(self.names.key, self.token, pause_ms)])
        except CacheUnavailable:
            return


def framed(
    loaded: "Loaded[Any]",
    absent: NotFound | None,
    line: bytes,
    token: bytes,
    spec: Spec,
    here: Process,
    *,
    took: float = 0.0,
) -> tuple[bytes, float]:
    """Return an entry, and the seconds that it lives in Redis."""
    policy = spec.policy
    if absent is not None or loaded.value is None:
        ttl = kept = policy.negative_ttl
        payload, codec = codecs.MISSING_ROW if absent is not None else NONE, b"J-"
    else:
        ttl = policy.ttl if loaded.ttl is None else seconds(loaded.ttl)
        ttl *= 1 - policy.jitter * random.random()  # noqa: S311 - spreads expiry, hides nothing
        kept = ttl + policy.kept if ttl > 0 else 0
        packing, payload = codecs.packed(spec.codec.encode(loaded.value), policy.compress_from)
        codec = spec.codec.mark + packing
    frame = Frame(
        payload,
        codec,
        token,
        line,
        here.now() + 1000 * ttl,
        policy.schema,
        absent=absent is not None or loaded.value is None,
        row=loaded.version,
        took=took,
    )
    return frame.encoded(), kept


def takes(names: Sequence[str], policy: Policy, here: Process) -> list[Command]:
    """Return the commands that read or create stamps and versions."""
    return [
        VERSION(name) if here.is_version(name) else STAMP(name, new_token(), policy.stamp_ms)
        for name in names
    ]


def prolongs(names: Names, ttl: float, policy: Policy, here: Process) -> list[Command]:
    """Return the commands after which stamps outlive an entry that lives longer than its kind."""
    if ttl <= policy.ttl + policy.kept:
        return []
    stamps = [name for name in names.stamps if not here.is_version(name)]
    return [STAMP(name, new_token(), int(2000 * ttl)) for name in stamps]


def lease_ms(policy: Policy, load: float | None) -> int:
    """Return the length of a lease: what the last load took, with room, where that is known."""
    if load is None:
        return int(1000 * policy.lease)
    shortest = min(SHORTEST_LEASE, policy.lease)
    return int(1000 * min(max(4 * load, shortest), policy.lease))
