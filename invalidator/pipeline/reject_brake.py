"""The brake: a topic of which the rules reject most is paused, and not emptied into dead letters.

A batch is judged right after it is planned. A topic of which more than half is rejected because of
a rule is paused at its source, and its events stay unacknowledged there. It is resumed by new rules
or by a person; and after a while, now and then, its next events are judged again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from msgspec import Struct, field

from invalidator.model import Batch, Plan
from invalidator.pipeline.report import times_of
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.sources.source import Source

log = structlog.get_logger("invalidator")

ENOUGH: Final = 100  # events that rules name: fewer prove nothing
FIRST_LOOK: Final = 60.0  # seconds until a paused topic is judged again
LAST_LOOK: Final = 3600.0  # seconds between two such looks, at most
ORIGINS: Final = 1024  # remembered: channels may have any names


class Window(Struct):
    """The last batches, as few as hold enough events."""

    batches: list[tuple[int, int]] = field(default_factory=list)
    events: int = 0
    failed: int = 0

    def add(self, events: int, failed: int) -> None:
        """Add a batch, and forget those before that are not needed any more."""
        self.batches.append((events, failed))
        self.events += events
        self.failed += failed
        while self.events - self.batches[0][0] >= ENOUGH:
            events, failed = self.batches.pop(0)
            self.events -= events
            self.failed -= failed

    @property
    def is_bad(self) -> bool:
        """Return whether most of enough events failed."""
        return self.events >= ENOUGH and 2 * self.failed > self.events


class Flowing(Struct):
    """A topic that is not paused, though a rule rejected some of its last events."""

    rules: str  # the hash of those that its events are planned with
    window: Window = field(default_factory=Window)
    pardoned: bool = False  # it is not paused with these rules, whatever they reject


class Paused(Struct):
    """A topic that is paused."""

    rules: str
    failed: int
    events: int
    look_at: float
    oldest: float  # when the oldest event was published that was read; Unix time
    wait: float = FIRST_LOOK
    looking: bool = False  # it is read, so that its next events can be judged

    def __str__(self) -> str:
        return f"rules {self.rules} rejected {self.failed:,} of {self.events:,} events"


class Share(Struct):
    """Counts of one topic's events in a batch."""

    events: int = 0  # that rules name
    unreadable: int = 0
    failed: int = 0  # because of a rule


class RejectBrake:
    """Pauses the topics of one source."""

    def __init__(
        self,
        source: Source,
        part: Part,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`part` is what readiness says about the rules."""
        self._source = source
        self._part = part
        self._clock = clock
        self._now = now
        self.topics: dict[str, Paused] = {}  # that are paused
        self._flowing: OrderedDict[str, Flowing] = OrderedDict()
        self._unreadable: OrderedDict[str, Window] = OrderedDict()
        self._ending = False
        part.ready()

    @property
    def paused(self) -> Mapping[str, str]:
        """Return each paused topic, with the reason."""
        return {origin: str(paused) for origin, paused in self.topics.items()}

    @property
    def oldest(self) -> float:
        """Return the age of the oldest event of paused topics that was read; 0 without any."""
        oldest = min((paused.oldest for paused in self.topics.values()), default=self._now())
        return max(0.0, self._now() - oldest)

    # --- after a batch was planned --------------------------------------------------------------

    def judge(self, batch: Batch, plan: Plan, rules: str) -> frozenset[str]:
        """Return the topics of a planned batch that are paused: nothing of them may be applied."""
        if not (plan.rejections or self.topics or self._flowing or self._unreadable):
            return frozenset()  # all is well, as ever
        shares = _shares(batch, plan)
        for origin, share in shares.items():
            self._watch_unreadable(origin, share)
        found = frozenset(
            origin for origin, share in shares.items() if self._pauses(origin, rules, share, batch)
        )
        if found:
            self._steer()
        return found

    def _pauses(self, origin: str, rules: str, share: Share, batch: Batch) -> bool:
        if self._ending:
            return False
        if paused := self.topics.get(origin):
            return not paused.looking or self._look(origin, paused, share)
        if not share.events or not (share.failed or origin in self._flowing):
            return False
        flowing = self._flow(origin, rules)
        if flowing.pardoned:
            return False
        flowing.window.add(share.events, share.failed)
        if flowing.window.is_bad:
            self._pause(origin, rules, flowing.window, batch)
        if flowing.window.is_bad or not flowing.window.failed:
            del self._flowing[origin]
        return origin in self.topics

    def _pause(self, origin: str, rules: str, window: Window, batch: Batch) -> None:
        now = self._now()
        others = {part.origin for part in batch.slices} - {origin}
        oldest = min(times_of(batch.without(others), now), default=now)
        look_at = self._clock() + FIRST_LOOK
        paused = Paused(rules, window.failed, window.events, look_at, oldest)
        self.topics[origin] = paused
        reason = f"{paused}, and are the likely cause"
        log.warning("topic-paused", source=self._source.name, origin=origin, reason=reason)
        self._part.not_ready(
            f"{origin} is paused: {reason}. New rules or `invalidator resume` resume it",
            self._who(origin),
        )

    def _look(self, origin: str, paused: Paused, share: Share) -> bool:
        """Judge the next events of a paused topic alone; return whether it stays paused."""
        if not share.events:
            return False
        if 2 * share.failed > share.events:
            paused.looking = False
            paused.wait = min(2 * paused.wait, LAST_LOOK)
            paused.look_at = self._clock() + paused.wait
            return True
        self._resume(origin, reason="most of its next events are not rejected")
        self._steer()
        return False

    def _watch_unreadable(self, origin: str, share: Share) -> None:
        """Raise an alarm where most events cannot be read. Rules have no part in it, so that these
        are dead letters, and the topic is not paused."""
        window = self._unreadable.get(origin)
        if window is None:
            if not share.unreadable:
                return
            window = self._unreadable[origin] = Window()
            if len(self._unreadable) > ORIGINS:
                self._unreadable.popitem(last=False)
        window.add(share.events + share.unreadable, share.unreadable)
        if window.is_bad:
            metrics.UNREADABLE_ALARMS.labels(self._source.name).inc()
            log.error(
                "unreadable-events",
                source=self._source.name,
                origin=origin,
                unreadable=window.failed,
                of=window.events,
            )
        if window.events >= ENOUGH:
            del self._unreadable[origin]

    # --- before the next batch is read ----------------------------------------------------------

    def review(self, rules: str) -> None:
        """Resume what changed rules may plan, what has to be looked at, and what overflows."""
        overflowing, now = self._source.overflowing, self._clock()
        for origin, paused in list(self.topics.items()):
            if paused.rules != rules:
                self._resume(origin, reason="the rules changed")
            elif origin in overflowing:
                self._pardon(origin, reason="no more of it can be kept in memory")
            elif now >= paused.look_at:
                paused.looking = True
        self._steer()

    def resume(self) -> list[str]:
        """Resume all topics: with these rules, none of them is paused again. Return which."""
        origins = list(self.topics)
        for origin in origins:
            self._pardon(origin, reason="a person")
        self._steer()
        return origins

    def end(self) -> None:
        """Before a drain, resume what its source would never deliver again."""
        if self._source.forgets:
            self._ending = True
            self.resume()

    def _pardon(self, origin: str, reason: str) -> None:
        self._flow(origin, self.topics[origin].rules).pardoned = True
        self._resume(origin, reason)

    def _resume(self, origin: str, reason: str) -> None:
        del self.topics[origin]
        self._part.ready(self._who(origin))
        log.warning("topic-resumed", source=self._source.name, origin=origin, reason=reason)

    def _steer(self) -> None:
        metrics.BRAKED_ORIGINS.labels(self._source.name).set(len(self.topics))
        self._source.pause(frozenset(o for o, each in self.topics.items() if not each.looking))

    def _who(self, origin: str) -> str:
        return f"{self._source.name} {origin}"

    def _flow(self, origin: str, rules: str) -> Flowing:
        found = self._flowing.get(origin)
        if found is None or found.rules != rules:
            found = self._flowing[origin] = Flowing(rules)
        self._flowing.move_to_end(origin)
        if len(self._flowing) > ORIGINS:
            self._flowing.popitem(last=False)
        return found


def _shares(batch: Batch, plan: Plan) -> dict[str, Share]:
    """Return by topic the events that rules name, and what was rejected."""
    shares: dict[str, Share] = {}
    for part in batch.slices:
        shares.setdefault(part.origin, Share()).events += len(part.values)
    for origin, count in plan.unmatched_of.items():
        if origin in shares:
            shares[origin].events -= count
    for rejection in plan.rejections:
        share = shares.get(rejection.record.origin)
        if share and any(fault.rule for fault in rejection.faults):
            share.failed += 1
        elif share:
            share.unreadable += 1
            share.events -= 1
    return shares
