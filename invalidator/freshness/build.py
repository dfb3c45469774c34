"""Builds what measures freshness in a daemon."""

import os
import socket
from collections.abc import Callable, Sequence

from invalidator.freshness.findings import Names
from invalidator.freshness.freshness import Freshness, Homes
from invalidator.freshness.sampling import Sampler
from invalidator.freshness.truth import Truths
from invalidator.pipeline.pause import Pause
from invalidator.pipeline.pipeline import Pipeline
from invalidator.settings import Settings

LATE = 1.0  # seconds after which an event that is not settled may explain a difference


def build_freshness(
    settings: Settings, homes: Homes, truths: Truths, identity: Callable[[], str]
) -> tuple[Freshness, "Traffic"]:
    """Return what measures freshness; the pipelines are told to `Traffic` once they are built."""
    wanted = settings.freshness
    sampler = Sampler(
        wanted.sample,
        wanted.per_second,
        settings.batch.max_event_bytes,
        Names(settings.dead_letters.redact),
        f"{socket.gethostname()}:{os.getpid()}",
    )
    traffic = Traffic()
    made = Freshness(
        homes,
        sampler,
        truths,
        wanted.delays,
        wanted.findings,
        identity=identity,
        busy=traffic.busy,
    )
    return made, traffic


class Traffic:
    """Knows whether changes may be published and not applied yet."""

    def __init__(self) -> None:
        self._pause: Pause | None = None
        self._pipelines: Sequence[Pipeline] = ()

    def watch(self, pause: Pause, pipelines: Sequence[Pipeline]) -> None:
        self._pause, self._pipelines = pause, pipelines

    def busy(self) -> str:
        """Return `paused` or `in-flight`; empty if all that was published long ago is applied."""
        paused = self._pause and self._pause.paused
        if paused or any(pipeline.braked for pipeline in self._pipelines):
            return "paused"
        late = any(pipeline.oldest > LATE for pipeline in self._pipelines)
        return "in-flight" if late else ""
