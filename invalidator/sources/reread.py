"""Reading again after a cache may have lost writes: a failover, or a restart from a snapshot."""

from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from invalidator.runtime import metrics

log = structlog.get_logger("invalidator")

BUCKET: Final = 10.0  # seconds of settling that share one entry


class Servers(Protocol):
    """The cache servers, as a source sees them."""

    @property
    def identity(self) -> str:
        """Return a digest of all servers' identities; it changes when one may have lost writes.

        Empty until all were asked, and where nobody watches.
        """

    @property
    def reason(self) -> str:
        """Return why the identity changed last, for a person."""

    @property
    def window(self) -> float:
        """Return how many seconds of writes a server may lose."""


class Unwatched:
    """Servers that never lose writes, for sources that watch none."""

    identity = reason = ""
    window = 0.0


UNWATCHED: Servers = Unwatched()


def report_reread(source: str, since: float | str, servers: Servers, again: object) -> None:
    """Log and count that a source reads again what a cache may have lost."""
    metrics.REWINDS.labels(source).inc()
    if isinstance(since, float):
        since = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
    log.warning("failover-reread", source=source, since=since, why=servers.reason, again=again)


class Reach:
    """Knows how far back in event time the writes of the last `window` seconds lead."""

    def __init__(self, window: float) -> None:
        self.window = window
        self._ages: dict[float, float] = {}  # bucket: largest age of an event settled in it

    def settled(self, now: float, oldest: float) -> None:
        """Note that events were settled now, of which the oldest was published then."""
        ages, bucket = self._ages, now // BUCKET * BUCKET
        ages[bucket] = max(ages.get(bucket, 0.0), now - oldest)
        while (first := next(iter(ages))) < now - self.window - BUCKET:
            del ages[first]

    def since(self, now: float) -> float:
        """Return the time of the oldest event whose effect may be lost."""
        return now - self.window - max(self._ages.values(), default=0.0)
