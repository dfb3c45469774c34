"""A pipeline whose effect is measured, on a real Redis."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from invalidator.errors import Unavailable
from invalidator.freshness.findings import Finding, Names
from invalidator.freshness.freshness import Freshness
from invalidator.freshness.sampling import Sampler
from invalidator.freshness.truth import Row
from invalidator.rules.rule import Verify
from invalidator.targets.store import Store
from tests.integration.piping import Bench, piping, rules_from

DELAYS = (0.05, 0.3)


@dataclass
class KnownTruth:
    """A source of truth in memory."""

    rows: dict[str, Row] = field(default_factory=dict)  # by the key's first value
    asked: int = 0
    down: bool = False

    async def ask(self, verify: Verify, values: Mapping[str, str]) -> Row:
        self.asked += 1
        if self.down:
            raise Unavailable("truth", "HTTP 503")
        return self.rows.get(next(iter(values.values())))

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass
class Measured:
    """What a test holds in its hands."""

    bench: Bench
    truth: KnownTruth
    freshness: Freshness
    busy: str = ""
    identity: str = "one"

    def counts(self) -> Counter[str]:
        """Return how often each outcome was counted, over all rules and delays."""
        found: Counter[str] = Counter()
        for result in self.freshness.tally.plain():
            found["stale"] += result["stale"]
            found["fresh"] += result["checks"] - result["stale"]
            found.update(result["not_counted"])
        return +found

    def findings(self) -> list[Finding]:
        return self.freshness.findings.newest()


@asynccontextmanager
async def measuring(
    rules: str,
    redis_url: str,
    folder: Path,
    *,
    delays: Sequence[float] = DELAYS,
    share: float = 1.0,
    per_second: float = 1_000_000,
    redact: Sequence[str] = (),
    now: Callable[[], float] = time.time,
    findings: int = 100,
) -> AsyncIterator[Measured]:
    truth = KnownTruth()
    measured: Measured
    made: list[Freshness] = []

    def verifier(store: Store) -> Freshness:
        sampler = Sampler(share, per_second, 10_000, Names(redact), "host:1")
        made.append(
            Freshness(
                store,
                sampler,
                truth,
                delays,
                findings,
                now=now,
                identity=lambda: measured.identity,
                busy=lambda: measured.busy,
            )
        )
        return made[0]

    async with piping(rules_from(rules, folder), redis_url, verifier=verifier) as bench:
        measured = Measured(bench, truth, made[0])
        running = asyncio.create_task(made[0].run())
        try:
            yield measured
        finally:
            running.cancel()
            await asyncio.wait({running})
