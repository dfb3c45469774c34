"""Whether the rules, rather than events, are to blame for what is rejected. No I/O, no clock.

A bad deployment of rules must not drain a topic into the dead letters. So a topic of which more
than half is rejected because of a rule is held, until other rules come, somebody says to go on, or
a look at newer events shows that the rules do work.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

ENOUGH: Final = 100  # events that rules name: fewer prove nothing
FIRST_LOOK: Final = 60.0  # seconds until newer events are looked at
LAST_LOOK: Final = 3600.0  # seconds between two looks, at most
ORIGINS: Final = 1024  # remembered: channels may have any names


class Window(Struct):
    """The last batches, as few as hold enough events."""

    batches: list[tuple[int, int]] = field(default_factory=list)
    events: int = 0
    failed: int = 0

    def add(self, events: int, failed: int) -> None:
        self.batches.append((events, failed))
        self.events += events
        self.failed += failed
        while self.events - self.batches[0][0] >= ENOUGH:
            events, failed = self.batches.pop(0)
            self.events -= events
            self.failed -= failed

    @property
    def enough(self) -> bool:
        return self.events >= ENOUGH

    @property
    def bad(self) -> bool:
        return self.enough and 2 * self.failed > self.events


class Flowing(Struct):
    """A topic that is not held."""

    rules: str  # the hash of those that its events are planned with
    window: Window = field(default_factory=Window)
    pardoned: bool = False  # somebody said to go on with these rules, whatever they reject


class Braked(Struct):
    """A topic that is held."""

    rules: str
    failed: int
    events: int
    since: float
    look_at: float
    wait: float = FIRST_LOOK
    look: Window | None = None  # newer events, while they are looked at

    def __str__(self) -> str:
        return f"rules {self.rules} rejected {self.failed:,} of {self.events:,} events"


class RulesBrake:
    """Of all topics of one source."""

    def __init__(self) -> None:
        self.braked: dict[str, Braked] = {}
        self._flowing: OrderedDict[str, Flowing] = OrderedDict()

    def judge(self, origin: str, rules: str, events: int, failed: int, now: float) -> bool:
        """A batch's share of a topic was planned: whether it is to be held.

        `events` are those that rules name, `failed` those of them that a rule rejected.
        """
        if braked := self.braked.get(origin):
            self._look(braked, events, failed, now)
            return True
        flowing = self._flow(origin, rules)
        if flowing.pardoned or not events:
            return False
        flowing.window.add(events, failed)
        if flowing.window.bad:
            window = self._flowing.pop(origin).window
            self.braked[origin] = Braked(rules, window.failed, window.events, now, now + FIRST_LOOK)
        return origin in self.braked

    def released(self, rules: str, now: float) -> Iterator[tuple[str, bool]]:
        """Topics that flow again, and whether what was held shall pass whatever rules reject.

        `rules` are those in force. A topic whose time has come is looked at from now on.
        """
        for origin, braked in list(self.braked.items()):
            if braked.rules != rules:
                del self.braked[origin]
                yield origin, False
            elif braked.look and braked.look.enough:
                del self.braked[origin]
                yield origin, True
            elif now >= braked.look_at and braked.look is None:
                braked.look = Window()

    def is_due(self, rules: str, now: float) -> bool:
        """Whether `released` has something to say."""
        return any(
            braked.rules != rules or (braked.look.enough if braked.look else now >= braked.look_at)
            for braked in self.braked.values()
        )

    def resume(self) -> list[str]:
        """Somebody says to go on: with these rules, nothing of these topics is held again."""
        for origin, braked in self.braked.items():
            self._flow(origin, braked.rules).pardoned = True
        origins, self.braked = list(self.braked), {}
        return origins

    @property
    def paused(self) -> frozenset[str]:
        """Topics of which nothing is to be read now."""
        return frozenset(origin for origin, each in self.braked.items() if each.look is None)

    def _flow(self, origin: str, rules: str) -> Flowing:
        found = self._flowing.get(origin)
        if found is None or found.rules != rules:
            found = self._flowing[origin] = Flowing(rules)
        self._flowing.move_to_end(origin)
        if len(self._flowing) > ORIGINS:
            self._flowing.popitem(last=False)
        return found

    def _look(self, braked: Braked, events: int, failed: int, now: float) -> None:
        """Newer events, while they are looked at. What proves the rules bad ends the look."""
        if braked.look is None or not events:
            return
        braked.look.add(events, failed)
        if braked.look.bad:
            braked.look = None
            braked.wait = min(2 * braked.wait, LAST_LOOK)
            braked.look_at = now + braked.wait
