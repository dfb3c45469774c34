"""Applied batches are settled in order, and rejected events count until they are dead letters."""

import asyncio
from collections.abc import Sequence

import pytest

from invalidator.errors import Unavailable
from invalidator.model import Batch, Failure, Fault, Outcome, Record, Rejection
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.report import Reporter
from invalidator.pipeline.settlement import Settlement, unexplained
from invalidator.pipeline.work import Applied, Seen
from invalidator.rules import RuleSet
from invalidator.runtime.health import Health
from tests.backends import until
from tests.backends.waiting import turn
from tests.memory_source import Ends, MemorySource

FAULTS = (Fault("not-json", "it is no JSON"),)


class Letters:
    """Dead letters that are unavailable until a test says otherwise."""

    def __init__(self) -> None:
        self.available = False
        self.kept: list[Rejection] = []

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        if not self.available:
            raise Unavailable("letters", "unavailable")
        self.kept += rejections


class Bench:
    def __init__(self) -> None:
        self.source, self.letters, self.in_flight = MemorySource(), Letters(), InFlight(100, 1000)
        health = Health()
        self.settlement = Settlement(
            self.source,
            self.letters,
            health.part("dead letters"),
            self.in_flight,
            Reporter("memory", narrate=False, clock=lambda: 0.0),
            health.unsettled("memory"),
        )

    async def join(self, end: int, *rejected: Record) -> None:
        rejections = [Rejection(record, None, FAULTS) for record in rejected]
        batch, rules, seen = Batch("memory", [], 1, 0, Ends(end, 0)), RuleSet([], {}, "r"), NOTHING
        applied = Applied(batch, rules, rejections, Outcome(), 0, 0, 0.0, None, seen)
        await self.settlement.join(applied)


NOTHING = Seen((), {}, None)


async def test_rejected_events_take_room_until_they_are_dead_letters() -> None:
    bench = Bench()
    record = Record("memory", "t", "", b"raw", key=b"k", headers=(("header", b"x" * 900),))
    running = asyncio.create_task(bench.settlement.run())
    await bench.join(1, record)
    assert (bench.in_flight.room(), bench.in_flight.bytes) == (99, 910)
    await bench.join(2, record)
    assert bench.in_flight.room() == 0
    assert bench.source.settled == 0
    bench.letters.available = True
    await until(lambda: bench.source.settled == 2)
    assert (bench.in_flight.room(), bench.in_flight.bytes) == (100, 0)
    assert [rejection.record for rejection in bench.letters.kept] == [record, record]
    await bench.settlement.end()
    await running


async def test_the_end_waits_for_a_place_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invalidator.pipeline.settlement.MOST_WAITING", 1)
    bench = Bench()
    await bench.join(1)
    ending = asyncio.create_task(bench.settlement.end())
    await turn()
    await bench.settlement.run()
    await ending
    assert bench.source.settled == 1


def test_a_dead_letter_without_an_event_holds_no_payload() -> None:
    failure = Failure("default", "keys", "order:1", "noperm", "it may not be deleted")
    (letter,) = unexplained("kafka", [failure])
    assert letter.record.raw is None
    assert "'order:1' of cache 'default' may be stale" in letter.faults[0].message
