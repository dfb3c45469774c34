"""The brake at work: what is held of a source's batches, and when it goes on.

A topic that is held is paused at its source, so that the others flow. What was read of it waits in
memory, unsettled, and is planned again when the topic is let go: by the rules in force then.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import structlog
from msgspec import Struct
from msgspec.structs import replace

from invalidator.model import Batch, Plan, Rejection, Slice
from invalidator.pipeline.ages import oldest
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.reject_brake import ORIGINS, RulesBrake, Window
from invalidator.pipeline.settlement import Applied
from invalidator.rules import RuleSet
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.sources.source import Source

log = structlog.get_logger("invalidator")


@runtime_checkable
class Pausable(Source, Protocol):
    """A source that can do without some of its topics, channels or streams."""

    def pause(self, origins: Collection[str]) -> None:
        """Read nothing of these from now on, and everything of all others."""

    def set_aside(
        self, ends: object, origins: Collection[str], *, whole: bool
    ) -> tuple[object, object]:
        """What ends a batch, divided: of these origins, unsettled for who knows how long; and of
        the others, which there are not where the batch is set aside as a `whole`."""

    def take_back(self, ends: object) -> bool:
        """What was set aside is worked on again. False: it is no longer ours."""


class Held(Struct, frozen=True):
    batch: Batch
    origin: str  # one: each topic is let go by itself
    published: float  # when its oldest event was
    over: bool  # beyond the bound on what is held: it counts as work in flight


class Share(Struct):
    """What became of one origin's events in a batch."""

    events: int = 0
    unreadable: int = 0
    failed: int = 0  # because of a rule


class Holding:
    """Of one source."""

    def __init__(
        self,
        source: Pausable,
        part: Part,
        in_flight: InFlight,
        most_bytes: int,
        *,
        brake: RulesBrake | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`part` is what readiness says about the rules."""
        self._source = source
        self._part = part
        self._in_flight = in_flight
        self._most = most_bytes
        self._brake = brake or RulesBrake()
        self._clock = clock
        self.bytes = 0  # of all that is held
        self._held: deque[Held] = deque()
        self._again: deque[tuple[Held, bool]] = deque()  # let go; and whether it has to pass
        # Of each topic: batches that were let go, until they pass here.
        self._returning: Counter[str] = Counter()
        self._paused: frozenset[str] = frozenset()  # at the source
        self._unreadable: dict[str, Window] = {}
        self._left = False  # what is held will not be let go any more
        part.ready()

    # --- after a batch was applied ------------------------------------------------------------

    def sift(self, batch: Batch, plan: Plan, applied: Applied) -> Applied | None:
        """What of it goes on to be settled; None: all of it is held."""
        origins = frozenset(part.origin for part in batch.slices)
        behind: frozenset[str] = frozenset()
        if batch.again:
            self._returning -= Counter(origins)
        else:  # what is held of a topic is older: it must be settled first
            behind = origins & self._returning.keys()
        wanted = behind | self._to_hold(batch, plan, applied)
        if not wanted:
            return applied
        if self._source.forgets and self.bytes + batch.size > self._most:
            log.warning("held-too-much", source=self._source.name, goes_to="the dead letters")
            return applied
        return self._divide(batch, wanted, plan, applied, behind)

    def _divide(
        self,
        batch: Batch,
        origins: frozenset[str],
        plan: Plan,
        applied: Applied,
        behind: frozenset[str],
    ) -> Applied | None:
        others = [part for part in batch.slices if part.origin not in origins]
        whole = not others and not batch.own
        rest, last = batch.ends, max(origins)
        for origin in sorted(origins):
            all_of_it = whole and origin == last
            kept, rest = self._source.set_aside(rest, {origin}, whole=all_of_it)
            ours = [part for part in batch.slices if part.origin == origin]
            held = self._hold(_part(batch, ours, kept), origin)
            if origin in behind:
                self._return(held)
            else:
                self._held.append(held)
        self._tell(origins)
        return None if whole else _without(origins, applied, plan, _part(batch, others, rest))

    def _to_hold(self, batch: Batch, plan: Plan, applied: Applied) -> frozenset[str]:
        now, rules = self._clock(), applied.rules.hash
        shares = _shares(batch, plan, applied.rejections)
        for origin, share in shares.items():
            self._watch_unreadable(origin, share)
        if batch.pardoned:
            return frozenset()
        return frozenset(
            origin
            for origin, share in shares.items()
            if self._brake.judge(origin, rules, share.events, share.failed, now)
        )

    def _hold(self, batch: Batch, origin: str) -> Held:
        over = not self._left and self.bytes + batch.size > self._most
        if over:
            self._in_flight.hold(batch.size)
        self.bytes += batch.size
        return Held(batch, origin, oldest(batch, time.time()), over)

    def _tell(self, origins: Collection[str]) -> None:
        """Said at once, and in readiness until it is over."""
        for origin in origins & self._brake.braked.keys():
            why = f"{origin} is held: {self._brake.braked[origin]}, and are the likely cause"
            self._part.away(
                f"{why}. New rules or `invalidator resume` let it go", self._who(origin)
            )
        self._steer()

    def _who(self, origin: str) -> str:
        return f"{self._source.name} {origin}"

    def _steer(self) -> None:
        metrics.BRAKED_ORIGINS.labels(self._source.name).set(len(self._brake.braked))
        paused = self._brake.paused | self._returning.keys()
        if paused != self._paused:
            self._paused = paused
            self._source.pause(paused)

    # --- before the next batch is read --------------------------------------------------------

    def is_due(self, rules: RuleSet) -> bool:
        """Whether something may be let go: it must not wait for the room that it takes itself."""
        return bool(self._again) or self._brake.is_due(rules.hash, self._clock())

    def ready(self, rules: RuleSet) -> Iterator[Batch]:
        """What is let go now, to be planned again; called again and again."""
        if not (self._brake.braked or self._again or self._paused):
            return
        for origin, passes in self._brake.released(rules.hash, self._clock()):
            log.warning("released", source=self._source.name, origin=origin, rules=rules.hash)
            self._let_go(origin, passes=passes)
        while self._again:
            held, passes = self._next()
            if self._source.take_back(held.batch.ends):
                yield replace(held.batch, again=True, pardoned=passes)
            else:
                self._returning -= Counter([held.origin])
        self._tell(self._brake.braked.keys())

    def resume(self) -> list[str]:
        """Somebody says to go on, whatever these rules reject: the topics that were held."""
        origins = self._brake.resume()
        for origin in origins:
            log.warning("released", source=self._source.name, origin=origin, by="a person")
            self._let_go(origin, passes=True)
        self._steer()
        return origins

    def leave(self) -> None:
        """The end is near: what is held takes no room from those who drain."""
        self._left = True
        for held in self._all:
            self._forget_size(held)
        self._held = deque(replace(held, over=False) for held in self._held)
        self._again = deque((replace(held, over=False), passes) for held, passes in self._again)

    def forgotten(self) -> Iterator[Batch]:
        """At the end: what the source would never give again has to be settled by us."""
        if self._source.forgets:
            self.resume()
            while self._again:
                held, _ = self._next()
                yield replace(held.batch, again=True, pardoned=True)

    def _let_go(self, origin: str, *, passes: bool) -> None:
        """Ahead of what came behind it, and was never held."""
        self._part.ready(self._who(origin))
        released = [held for held in self._held if held.origin == origin]
        self._held = deque(held for held in self._held if held.origin != origin)
        self._again.extendleft((held, passes) for held in reversed(released))
        self._returning += Counter({origin: len(released)})

    def _return(self, held: Held) -> None:
        self._again.append((held, False))
        self._returning += Counter([held.origin])

    def _next(self) -> tuple[Held, bool]:
        """Of what was let go; it is held no longer."""
        held, passes = self._again.popleft()
        self.bytes -= held.batch.size
        self._forget_size(held)
        return held, passes

    def _forget_size(self, held: Held) -> None:
        if held.over:
            self._in_flight.release(held.batch.size)

    # --- for those who look -------------------------------------------------------------------

    @property
    def batches(self) -> int:
        return len(self._held) + len(self._again)

    @property
    def braked(self) -> Mapping[str, str]:
        """Each topic that is held, and why."""
        return {origin: str(braked) for origin, braked in self._brake.braked.items()}

    def oldest(self) -> float:
        """Seconds since the oldest event was published that is held."""
        now = time.time()
        return max((max(0.0, now - held.published) for held in self._all), default=0.0)

    @property
    def _all(self) -> list[Held]:
        return [*self._held, *(held for held, _ in self._again)]

    def _watch_unreadable(self, origin: str, share: Share) -> None:
        """Only told of: rules have no part in it, and events may be mended at their source."""
        window = self._unreadable.get(origin)
        if window is None:
            if not share.unreadable:
                return
            if len(self._unreadable) >= ORIGINS:
                self._unreadable.clear()
            window = self._unreadable[origin] = Window()
        window.add(share.events + share.unreadable, share.unreadable)
        if window.bad:
            metrics.UNREADABLE_ALARMS.labels(self._source.name).inc()
            log.error(
                "unreadable-events",
                source=self._source.name,
                origin=origin,
                unreadable=window.failed,
                of=window.events,
            )
        if window.enough:
            del self._unreadable[origin]


def _shares(batch: Batch, plan: Plan, rejections: Sequence[Rejection]) -> dict[str, Share]:
    """By origin: the events that rules name, and what was rejected."""
    shares: dict[str, Share] = {}
    for part in batch.slices:
        shares.setdefault(part.origin, Share()).events += len(part.values)
    for origin, count in plan.unmatched_of.items():
        if origin in shares:
            shares[origin].events -= count
    for rejection in rejections:
        share = shares.get(rejection.record.origin)
        if share and any(fault.rule for fault in rejection.faults):
            share.failed += 1
        elif share:
            share.unreadable += 1
            share.events -= 1
    return shares


def _part(batch: Batch, slices: list[Slice], ends: object) -> Batch:
    events = sum(len(part.values) for part in slices)
    size = sum(part.size for part in slices)
    return Batch(batch.source, slices, events, size, ends)


def _without(origins: Collection[str], applied: Applied, plan: Plan, rest: Batch) -> Applied:
    return replace(
        applied,
        batch=rest.ended(),
        rejections=[each for each in applied.rejections if each.record.origin not in origins],
        unmatched=sum(n for origin, n in plan.unmatched_of.items() if origin not in origins),
    )
