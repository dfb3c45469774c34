"""Bounds on what one pipeline reads at a time."""

from msgspec import Struct
from msgspec.structs import replace

from invalidator.settings import Settings

PACED = 10.0  # seconds, about, that the names of a batch may take at the brake's pace


class Limits(Struct, frozen=True):
    """Bounds on one batch."""

    events: int
    event_bytes: int  # a larger event is rejected
    names: int = 100_000  # about: they take more memory than their events
    seconds: float = 0.5  # of planning, about: nothing else runs meanwhile

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that the settings ask for."""
        batch = settings.batch
        return cls(batch.max_events, batch.max_event_bytes).paced(settings.max_deletes_per_second)

    def paced(self, per_second: int) -> "Limits":
        """Return limits for names that are deleted at a pace (0: at any).

        A batch is applied anew after a failure: one that took an hour might never be done.
        """
        if not per_second:
            return self
        most = max(1, int(per_second * PACED))
        return replace(self, events=min(self.events, most), names=min(self.names, most))

    def fitting(self, events: int, names: int, seconds: float) -> int:
        """Return how many events the next batch may have, by names and seconds of the last one.

        A batch without events of others says nothing about that.
        """
        if not events:
            return self.events
        quick = self.events if seconds <= 0 else int(events * self.seconds / seconds)
        return max(1, min(self.events, events * self.names // max(names, 1), quick))
