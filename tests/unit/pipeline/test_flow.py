"""The line that is logged while something flows."""

import asyncio

import pytest
from structlog.testing import capture_logs

from invalidator.pipeline import flow
from invalidator.pipeline.flow import Flow
from tests.backends import until


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def add(to: Flow, events: int, rejected: int = 0) -> None:
    to.add(events=events, names=2 * events, existed=1, unmatched=0, rejected=rejected)


def test_batches_are_one_line() -> None:
    clock = Clock()
    flowing = Flow("kafka", clock)
    with capture_logs() as lines:
        add(flowing, 3)
        clock.now = 30.0
        add(flowing, 4, rejected=1)
        flowing.report()
        flowing.report()
    (line,) = lines
    assert (line["event"], line["log_level"], line["source"]) == ("flow", "info", "kafka")
    assert (line["seconds"], line["batches"], line["events"], line["names"]) == (30.0, 2, 7, 14)
    assert (line["existed"], line["rejected"]) == (2, 1)


def test_a_batch_that_only_reports_a_gap_is_none() -> None:
    flowing = Flow("pubsub")
    with capture_logs() as lines:
        flowing.add(events=0, names=0, existed=0, unmatched=0, rejected=0)
        flowing.report()
    assert lines == []


async def test_a_line_comes_soon_and_then_at_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "SOON", 0.01)
    monkeypatch.setattr(flow, "EVERY", 0.02)
    flowing = Flow("kafka")
    with capture_logs() as lines:
        running = asyncio.create_task(flowing.run())
        for number in (1, 2):
            add(flowing, number)
            await until(lambda: len(lines) == number)  # noqa: B023
        running.cancel()
    assert [line["events"] for line in lines] == [1, 2]
