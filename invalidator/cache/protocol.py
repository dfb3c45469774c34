"""The way of a read, as a generator of requests: asyncio, threads and tests drive the same one.

A driver sends each request's answer back, or throws what the request raised. A plain hit is
decided before the generator starts.
"""

import random
from collections.abc import Generator, Sequence
from typing import Any, Final

from msgspec import Struct

from invalidator.cache import codecs
from invalidator.cache.codecs import NONE, Undecodable, value_of, value_start
from invalidator.cache.entry import (
    BUSY,
    EARLY,
    HIT,
    MISS,
    STALE,
    Frame,
    Lease,
    Names,
    id_of,
    judge,
    lease_of,
    load_time,
    new_token,
)
from invalidator.cache.errors import CacheUnavailable, NotFound
from invalidator.cache.kinds import Policy, seconds
from invalidator.cache.loading import Flight, Load, Loaded, Outcome
from invalidator.cache.process import Process, Spec
from invalidator.cache.scripts import (
    CHANGED,
    DONE,
    FOREIGN,
    GRANTED,
    LEASE,
    OLDER,
    PUT,
    RELEASE,
    STAMP,
    VERSION,
    Command,
)

RECORD: Final = 6  # leases that a lease's record lives: a slow load may still be put
SHORTEST_LEASE: Final = 1.0  # seconds

Found = Sequence[bytes | None]
Steps = Generator["Request", Any, Any]


class Get(Struct, frozen=True):
    """Read these keys, in any order; the answer is their values."""

    keys: Sequence[str]


class Send(Struct, frozen=True):
    """Run these commands, in any order; the answer is their replies."""

    commands: Sequence[Command]


class Call(Struct, frozen=True):
    """Call the loader; the answer is what it returns."""

    load: Load


class CallAlone(Struct, frozen=True):
    """Call the loader if not too many run without caching; the answer is what it returns."""


class CallMany(Struct, frozen=True):
    """Call the loader for several names; the answer maps names to values."""

    names: Sequence[str]
    alone: bool = False  # without caching: not too many at once


class Lead(Struct, frozen=True):
    """Take these steps for all who join; the answer is their outcome."""

    flight: Flight
    steps: Steps


class Join(Struct, frozen=True):
    """Wait for a load of this process; the answer is its outcome."""

    flight: Flight


class Wait(Struct, frozen=True):
    """Wait until an entry's lease is another, or for some seconds."""

    key: str
    token: bytes
    seconds: float


class Background(Struct, frozen=True):
    """Take these steps later, for nobody."""

    steps: Steps


Request = Get | Send | Call | CallAlone | CallMany | Lead | Join | Wait | Background


def read(names: Names, spec: Spec, here: Process, found: Found | None) -> Steps:
    """Return the steps of a read that was no plain hit; they return the value.

    `found` is what was there; None where Redis is unavailable.
    """
    return _Read(names, spec, here).steps(found)


class _Read:
    def __init__(self, names: Names, spec: Spec, here: Process) -> None:
        self.names = names
        self.spec = spec
        self.policy = spec.policy
        self.here = here
        self.give_up = here.clock() + spec.policy.wait
        self.held = False  # by somebody else, when this reader asked for the lease

    def steps(self, found: Found | None) -> Steps:
        outcome = None
        if found is not None:
            try:
                outcome = yield from self._steps(found)
            except CacheUnavailable:
                outcome = None
        if outcome is None:
            self.here.stats.bypassed += 1
            return (yield from self._alone())
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def _steps(self, found: Found) -> Steps:
        while True:
            entry = found[0]
            if (names := self.names.fitting(entry)) is not self.names:
                self.names = names
                self.here.learnt(names)
                found = yield Get(names.keys)
                continue
            line = self.names.line(found[1:])
            verdict, kept = self._judged(entry, line)
            if verdict == HIT:
                self.here.stats.hits += 1
                return kept
            if verdict == BUSY:
                outcome = yield from self._busy(entry, line, kept)
            else:
                outcome = yield from self._load(entry, verdict, kept)
            if outcome is not None:
                return self._instead(kept) if kept and self._is_bridged(outcome) else outcome
            found = yield Get(self.names.keys)

    def _judged(self, entry: bytes | None, line: bytes | None) -> tuple[int, Outcome | None]:
        """Return the verdict, and the entry's value where it may be served."""
        verdict = judge(entry, line, self.here.now(), self.policy)
        if verdict == MISS or entry is None or line is None or not id_of(entry):
            return verdict, None
        try:
            return verdict, Outcome(value_of(entry, value_start(line), self.spec.codec))
        except NotFound as error:
            return verdict, Outcome(error=error)
        except Undecodable:
            self.here.stats.undecodable += 1
            return MISS, None

    def _is_bridged(self, outcome: Outcome) -> bool:
        """Return whether a load failed so that an old value may stand in."""
        error = outcome.error
        return isinstance(error, self.policy.stale_on) and not isinstance(error, NotFound)

    def _instead(self, kept: Outcome) -> Outcome:
        self.here.stats.stale += 1
        return kept

    # --- somebody else loads --------------------------------------------------------------------

    def _busy(self, entry: bytes | None, line: bytes | None, kept: Outcome | None) -> Steps:
        """Wait for another's load; the answer is its outcome, or None: read again."""
        lease = lease_of(entry)
        assert lease is not None
        flight = self.here.flights.get(lease.token)
        if flight is not None and line is not None and flight.line == line:
            self.here.stats.shared += 1
            outcome: Outcome = yield Join(flight)
            return outcome if outcome.shared else None
        if self.here.clock() < self.give_up:
            yield from self._wait(lease)
            return None
        return kept or (yield from self._without_caching())

    def _wait(self, lease: Lease) -> Steps:
        """Wait until the lease is given back, or may be taken over."""
        self.here.stats.waits += 1
        until = max(0.0, lease.until - self.here.now()) / 1000
        left = max(0.0, self.give_up - self.here.clock())
        yield Wait(self.names.key, lease.token, min(left, until + 0.001))

    def _without_caching(self) -> Steps:
        self.here.stats.alone += 1
        return Outcome((yield from self._alone()))

    def _alone(self) -> Steps:
        value = yield CallAlone()
        return value.value if isinstance(value, Loaded) else value

    # --- this reader loads ----------------------------------------------------------------------

    def _load(self, entry: bytes | None, verdict: int, kept: Outcome | None) -> Steps:
        """Load under a lease; the answer is the outcome, or None: read again."""
        if self.held and (lease := lease_of(entry)):  # beside a value that is of no use
            self.held = False
            yield from self._wait(lease)
            return None
        usable = verdict in (EARLY, STALE)
        if usable and self.policy.background:
            yield Background(self._refresh(entry))
            return self._old(verdict, kept)
        token = new_token()
        granted, stamps = yield from self._lease(token, entry, keep=kept is not None)
        if granted == GRANTED:
            flight = Flight(token, self.names.line(stamps))
            steps = _Load(self.names, self.spec, self.here, token).steps(stamps)
            return (yield Lead(flight, steps))
        if usable:  # somebody else is at it
            return self._old(verdict, kept)
        if granted == FOREIGN:
            return (yield from self._without_caching())
        if granted != CHANGED and self.here.clock() >= self.give_up:
            return (yield from self._without_caching())
        self.held = granted != CHANGED
        return None

    def _old(self, verdict: int, kept: Outcome | None) -> Outcome:
        assert kept is not None
        self.here.stats.hits += verdict == EARLY
        self.here.stats.stale += verdict == STALE
        return kept

    def _lease(self, token: bytes, entry: bytes | None, *, keep: bool) -> Steps:
        """Ask for the lease, and take every stamp and version, before anything is loaded."""
        length = lease_ms(self.policy, load_time(entry))
        mode = "refresh" if keep else "miss"
        lease = LEASE(self.names.key, token, length, RECORD * length, id_of(entry), mode)
        asked = self.here.clock()
        reply, *stamps = yield Send([lease, *takes(self.names.stamps, self.policy, self.here)])
        granted, redis_now, _ = reply
        self.here.heard(redis_now, asked)
        return granted, stamps

    def _refresh(self, entry: bytes | None) -> Steps:
        token = new_token()
        granted, stamps = yield from self._lease(token, entry, keep=True)
        if granted == GRANTED:
            flight = Flight(token, self.names.line(stamps))
            yield Lead(flight, _Load(self.names, self.spec, self.here, token).steps(stamps))


class _Load:
    """A load under a lease that was granted."""

    def __init__(self, names: Names, spec: Spec, here: Process, token: bytes) -> None:
        self.names = names
        self.spec = spec
        self.policy = spec.policy
        self.here = here
        self.token = token

    def steps(self, stamps: Sequence[bytes]) -> Steps:
        """Load, and put what was loaded; the steps return the value."""
        self.here.stats.loads += 1
        taken = dict(zip(self.names.stamps, stamps, strict=True))
        load = Load(self.here.stamp, stamp_ms(self.policy), taken)
        try:
            began = self.here.clock()
            loaded, absent = yield from self._call(load)
            if not load.cacheable:
                yield from self._release(0)
                return self._outcome(loaded, absent, load)
            took = (self.here.clock() - began) * 1000
            entry, ttl = framed(
                loaded, absent, self._line(load), self.token, self.spec, self.here, took=took
            )
        except GeneratorExit:  # dropped: the lease runs out by itself
            raise
        except BaseException as error:
            self.here.stats.failed += 1
            pause = self.policy.cooldown if isinstance(error, Exception) else 0.0
            yield from self._release(int(1000 * pause))
            raise
        outcome = self._outcome(loaded, absent, load)
        outcome.cached = yield from self._put(entry, ttl)
        return outcome

    def _outcome(self, loaded: "Loaded[Any]", absent: NotFound | None, load: Load) -> Outcome:
        # A load that named tags on its way is no answer for those who joined it before.
        return Outcome(loaded.value, absent, shared=not load.noted)

    def _call(self, load: Load) -> Steps:
        """Load until no tag is new: a stamp must be taken before the load that depends on it."""
        loaded, absent = yield from self._call_once(load)
        missing = load.note(loaded.tags)
        if missing and load.cacheable:
            stamps = yield Send(load.commands(missing, new_token()))
            load.took(missing, stamps)
            loaded, absent = yield from self._call_once(load)
            if load.note(loaded.tags):  # others than the first time
                load.cacheable = False
        return loaded, absent

    def _call_once(self, load: Load) -> Steps:
        """Call the loader; the answer is what it loaded, and that it found nothing."""
        load.noted.clear()
        try:
            loaded = yield Call(load)
        except NotFound as error:
            return Loaded(None), error
        return (loaded if isinstance(loaded, Loaded) else Loaded(loaded)), None

    def _line(self, load: Load) -> bytes:
        declared = self.names.declared
        noted = tuple(name for name in load.noted if name not in declared)
        names = Names(self.names.key, declared, noted)
        self.here.learnt(names)
        line = names.line([load.taken[name] for name in names.stamps])
        assert line is not None
        return line

    def _put(self, entry: bytes, ttl: float) -> Steps:
        """Put the entry; the answer says whether it was put. A failure is the cache's alone."""
        stats = self.here.stats
        if ttl <= 0 or len(entry) > self.policy.max_bytes:
            stats.too_large += ttl > 0
            yield from self._release(0)
            return False
        try:
            (reply,) = yield Send([PUT(self.names.key, self.token, entry, int(ttl * 1000))])
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
        kept = ttl + policy.kept
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
    lifetime = stamp_ms(policy)
    return [
        VERSION(name) if here.is_version(name) else STAMP(name, new_token(), lifetime)
        for name in names
    ]


def stamp_ms(policy: Policy) -> int:
    """Return how long a stamp lives: longer than any entry that carries it."""
    return int(2000 * (policy.ttl + policy.kept))


def lease_ms(policy: Policy, load: float | None) -> int:
    """Return the length of a lease: what the last load took, with room, where that is known."""
    if load is None:
        return int(1000 * policy.lease)
    shortest = min(SHORTEST_LEASE, policy.lease)
    return int(1000 * min(max(4 * load, shortest), policy.lease))
