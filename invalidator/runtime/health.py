"""The facts behind the probes: what the daemon waits for, and whether it makes progress."""

import time
from collections.abc import Callable

import structlog
from msgspec import Struct, field

log = structlog.get_logger("invalidator")

REMIND_EVERY = 30.0  # seconds between two lines about the same wait
MOST_CAUSES = 100  # that are remembered


class Part(Struct):
    """Something that readiness depends on: a server, a source, or a person's will.

    Several may use it, and it may reject the work of one only: it is ready for all or not at all.
    """

    name: str
    clock: Callable[[], float] = time.monotonic
    server: bool = True  # waiting for it is no standstill, and is logged
    reason: str = "starting"  # why it is not ready; empty when it is
    since: float = 0.0
    _logged: float | None = None  # when its unavailability was last logged
    _reasons: dict[str, str] = field(default_factory=dict)  # who finds it unavailable, and why
    # When each cause was last logged, by any part: one server that is down is one line.
    _causes: dict[str, float] = field(default_factory=dict)
    _told: str = ""  # the cause that it has logged as its own

    def __post_init__(self) -> None:
        self.since = self.clock()

    @property
    def is_down(self) -> bool:
        """Return whether anyone found it unavailable."""
        return bool(self._reasons)

    def not_ready(self, reason: str, who: str = "") -> None:
        """Note why it is not ready; log that immediately, then now and then."""
        now = self.clock()
        self._reasons[who] = reason
        if self._logged is None:
            self.since = now
        self.reason = reason
        if self._logged is None or now - self._logged >= REMIND_EVERY:
            self._logged = now
            self._tell(reason, now)

    def ready(self, who: str = "") -> None:
        """Note that it is ready, as far as this user of it knows."""
        if not self.reason:
            return
        self._reasons.pop(who, None)
        if self._reasons:
            self.reason = next(iter(self._reasons.values()))
            return
        if self._told:
            self._causes.pop(self._told, None)
            self._told = ""
            self._log("server-available")
        self.reason = ""
        self._logged = None
        self.since = self.clock()

    def _tell(self, reason: str, now: float) -> None:
        """Log it, unless another part has just logged the same cause."""
        cause = reason.partition(": ")[2] or reason
        if not self._told and now - self._causes.get(cause, -REMIND_EVERY) < REMIND_EVERY:
            return
        if len(self._causes) >= MOST_CAUSES:
            self._causes.clear()
        self._causes[cause] = now
        self._told = cause
        self._log("server-unavailable", reason=reason)

    def _log(self, event: str, **more: str) -> None:
        if self.server:
            level = log.warning if more else log.info
            level(event, part=self.name, seconds=round(self.clock() - self.since, 1), **more)


class Unsettled(Struct):
    """Counts the batches that one pipeline has read and not settled."""

    name: str
    clock: Callable[[], float] = time.monotonic
    batches: int = 0
    moved: float = 0.0  # when that last changed; in the future while a batch waits for a time

    def read(self) -> None:
        """Note that a batch was read."""
        if not self.batches:
            self.moved = self.clock()
        self.batches += 1

    def settled(self) -> None:
        """Note that a batch was settled."""
        self.batches -= 1
        self.moved = self.clock()

    def expect(self, at: float) -> None:
        """Note that nothing can be settled before a time, on the same clock."""
        self.moved = max(self.moved, at)


class Health(Struct):
    """Knows all parts of a daemon, and the batches of all its pipelines."""

    clock: Callable[[], float] = time.monotonic
    stuck_after: float = 180.0  # seconds
    parts: dict[str, Part] = field(default_factory=dict)
    pipelines: list[Unsettled] = field(default_factory=list)
    _progress: float = 0.0
    _causes: dict[str, float] = field(default_factory=dict)  # see Part

    def part(self, name: str, *, server: bool = True) -> Part:
        """Return the part of that name."""
        made = Part(name, self.clock, server, _causes=self._causes)
        return self.parts.setdefault(name, made)

    def unsettled(self, name: str) -> Unsettled:
        """Return the account of a new pipeline."""
        found = Unsettled(name, self.clock)
        self.pipelines.append(found)
        return found

    def progress(self) -> None:
        """Note a step of work that may take longer than `stuck_after` until it is done."""
        self._progress = self.clock()

    def waiting(self) -> dict[str, str]:
        """Return what is not ready, and why."""
        return {part.name: part.reason for part in self.parts.values() if part.reason}

    def stuck(self) -> list[str]:
        """Return the pipelines that have work and settle nothing, though no server is known to be
        unavailable."""
        servers = [part for part in self.parts.values() if part.server]
        if any(part.is_down for part in servers):
            return []
        moved = max([self._progress, *(part.since for part in servers)])
        limit = self.clock() - self.stuck_after
        return [p.name for p in self.pipelines if p.batches and max(moved, p.moved) < limit]
