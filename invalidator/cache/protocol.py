"""The way of a read, as a generator of requests: asyncio, threads and tests drive the same one.

A driver sends each request's answer back, or throws what the request raised. A plain hit is
decided before the generator starts.
"""

from invalidator.cache.codecs import Undecodable, value_of, value_start
from invalidator.cache.entry import (
    BUSY,
    EARLY,
    HIT,
    MISS,
    STALE,
    Lease,
    Names,
    fresh_until,
    id_of,
    judge,
    lease_of,
    load_time,
    new_token,
)
from invalidator.cache.errors import CacheError, CacheUnavailable, NotFound
from invalidator.cache.filling import RECORD, Filling, lease_ms, takes
from invalidator.cache.loading import Flight, Loaded, Outcome, waits_for_itself
from invalidator.cache.process import Process, Spec
from invalidator.cache.requests import (
    Background,
    CallAlone,
    Found,
    Get,
    Join,
    Lead,
    Send,
    Steps,
    Wait,
)
from invalidator.cache.scripts import CHANGED, FOREIGN, GRANTED, LEASE
from invalidator.cache.seen import tell


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
        self.give_up = here.timer() + spec.policy.wait
        self.held = False  # by somebody else, when this reader asked for the lease

    def steps(self, found: Found | None) -> Steps:
        outcome = None
        if found is not None:
            try:
                outcome = yield from self._steps(found)
            except CacheUnavailable:
                outcome = None
        if outcome is None:
            self.spec.stats.bypassed += 1
            tell(self.names, 0.0, self.here, self.policy)
            return (yield from self._alone())
        tell(self.names, outcome.until, self.here, self.policy)
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
            verdict, kept = self._judged(entry, line) if entry else (MISS, None)
            if verdict == HIT:
                self.spec.stats.hits += 1
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
            value = value_of(entry, value_start(line), self.spec.codec)
            return verdict, Outcome(value, until=fresh_until(entry))
        except NotFound as error:
            return verdict, Outcome(error=error, until=fresh_until(entry))
        except Undecodable:
            self.spec.stats.undecodable += 1
            return MISS, None

    def _is_bridged(self, outcome: Outcome) -> bool:
        """Return whether a load failed so that an old value may stand in."""
        error = outcome.error
        return isinstance(error, self.policy.stale_on) and not isinstance(error, NotFound)

    def _instead(self, kept: Outcome) -> Outcome:
        self.spec.stats.stale += 1
        return kept

    # --- somebody else loads --------------------------------------------------------------------

    def _busy(self, entry: bytes | None, line: bytes | None, kept: Outcome | None) -> Steps:
        """Wait for another's load; the answer is its outcome, or None: read again."""
        lease = lease_of(entry)
        assert lease is not None
        if waits_for_itself(lease.token):
            raise CacheError(f"the loader of {self.names.key} reads the entry that it loads")
        left = self.give_up - self.here.timer()
        if left <= 0:
            return kept or (yield from self._without_caching())
        flight = self.here.flights.get(lease.token)
        if flight is not None and line is not None and flight.line == line:
            self.spec.stats.shared += 1
            outcome: Outcome | None = yield Join(flight, left)
            return outcome if outcome and outcome.shared else None
        yield from self._wait(lease)
        return None

    def _wait(self, lease: Lease) -> Steps:
        """Wait until the lease is given back, or may be taken over."""
        self.spec.stats.waits += 1
        until = max(0.0, lease.until - self.here.now()) / 1000
        left = max(0.0, self.give_up - self.here.timer())
        yield Wait(self.names.key, lease.token, min(left, until + 0.001))

    def _without_caching(self) -> Steps:
        self.spec.stats.alone += 1
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
            steps = Filling(self.names, self.spec, self.here, token).steps(stamps)
            return (yield Lead(flight, steps))
        if usable:  # somebody else is at it
            return self._old(verdict, kept)
        if granted == FOREIGN:
            return (yield from self._without_caching())
        if self.here.timer() >= self.give_up:
            return (yield from self._without_caching())
        self.held = granted != CHANGED
        return None

    def _old(self, verdict: int, kept: Outcome | None) -> Outcome:
        assert kept is not None
        self.spec.stats.hits += verdict == EARLY
        self.spec.stats.stale += verdict == STALE
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
            yield Lead(flight, Filling(self.names, self.spec, self.here, token).steps(stamps))
