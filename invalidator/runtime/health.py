"""What the daemon is waiting for, and whether it still gets on: the truth behind the probes."""

import time
from collections.abc import Callable
from contextvars import ContextVar

import structlog
from msgspec import Struct, field

log = structlog.get_logger("invalidator")

REMIND_EVERY = 30.0  # seconds between two lines about the same wait


class Part(Struct):
    """A server or source that readiness depends on.

    Several may use it, and it may refuse the work of one only: it is ready for all or not at all.
    """

    name: str
    clock: Callable[[], float] = time.monotonic
    reason: str = "starting"  # why it is not ready; empty when it is
    since: float = 0.0
    _said: float | None = None  # when its absence was last logged
    _missed: dict[str, str] = field(default_factory=dict)  # who finds it away, and why

    def __post_init__(self) -> None:
        self.since = self.clock()

    def away(self, reason: str, who: str = "") -> None:
        """Note that it cannot be reached; say so at once, then now and then."""
        now = self.clock()
        self._missed[who] = reason
        if self._said is None:
            self.since = now
        self.reason = reason
        if self._said is None or now - self._said >= REMIND_EVERY:
            self._said = now
            log.warning(
                "waiting", part=self.name, reason=reason, seconds=round(now - self.since, 1)
            )

    def ready(self, who: str = "") -> None:
        """Note that it answers."""
        if not self.reason:
            return
        self._missed.pop(who, None)
        if self._missed:
            self.reason = next(iter(self._missed.values()))
            return
        if self._said is not None:
            log.info("back", part=self.name, seconds=round(self.clock() - self.since, 1))
        self.reason = ""
        self._said = None
        self.since = self.clock()


class Pulse(Struct):
    """A loop's sign of life. Idle loops beat too; one that is stuck does not."""

    name: str
    clock: Callable[[], float] = time.monotonic
    applies: bool = False  # it deletes, so that its work may be held back on purpose
    last: float = 0.0

    def __post_init__(self) -> None:
        self.beat()

    def beat(self) -> None:
        self.last = self.clock()


WORKING: ContextVar[Pulse | None] = ContextVar("working", default=None)  # of the loop we work for


def getting_on() -> None:
    """A part of something long is done: whoever waits for the whole of it is not stuck."""
    if pulse := WORKING.get():
        pulse.beat()


class Health(Struct):
    """All parts and pulses of one daemon."""

    clock: Callable[[], float] = time.monotonic
    stuck_after: float = 180.0  # seconds; longer than one try to join a Kafka group may take
    parts: dict[str, Part] = field(default_factory=dict)
    pulses: list[Pulse] = field(default_factory=list)

    def part(self, name: str) -> Part:
        return self.parts.setdefault(name, Part(name, self.clock))

    def pulse(self, name: str, *, applies: bool = False) -> Pulse:
        pulse = Pulse(name, self.clock, applies)
        self.pulses.append(pulse)
        return pulse

    def held_back(self) -> None:
        """Deletions wait on purpose, and so do the loops that apply them: that is no standstill."""
        for pulse in self.pulses:
            if pulse.applies:
                pulse.beat()

    def waiting(self) -> dict[str, str]:
        """What is not ready, and why."""
        return {part.name: part.reason for part in self.parts.values() if part.reason}

    def stuck(self) -> list[str]:
        """Loops without a sign of life. Waiting for a server known to be away beats."""
        now = self.clock()
        return [p.name for p in self.pulses if now - p.last > self.stuck_after]
