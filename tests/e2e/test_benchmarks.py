"""The benchmarks work: a few events for some contenders. How fast anything is, no test says."""

from pathlib import Path

import pytest

from benchmarks import latency, report, throughput
from benchmarks.contenders import BARE, CONTENDERS
from benchmarks.servers import Servers
from tests.backends.kafka_client import Kafka

EVENTS = 2_000


@pytest.fixture
def on(kafka: Kafka, redis_url: str) -> Servers:
    return Servers(kafka, redis_url)


def test_contenders_are_compared(on: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [*throughput.entries_of("bhi", ["plain", "debezium"], EVENTS)]
    runs = throughput.compare(on, entries, 1, warm_up=False)
    assert [(e.contender.letter, e.variant.name) for e in runs] == [
        *(("b", "plain"), ("h", "plain"), ("i", "plain")),
        ("h", "debezium"),
    ]
    for (run,) in runs.values():
        assert 0 < run.steady <= run.cpu
        assert run.memory > 1e6
    capsys.readouterr()
    report.show(runs)
    said = capsys.readouterr().out
    for entry in entries:
        assert f"| {entry.contender.letter}) {entry.contender.name}" in said
    assert "| b) hand-written | per CPU second |" in said
    assert "| itself: change events to two keys an event |" in said


def test_who_cannot_run_here_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [entry.contender.letter for entry in throughput.entries_of("aefg", ["plain"], 1)] == [
        "a"
    ]
    said = capsys.readouterr().out
    assert said.count("no bento on PATH") == 2
    assert "no go on PATH" in said


def test_latency_is_measured(on: Servers, tmp_path: Path) -> None:
    for contender, at in ((BARE, None), (CONTENDERS["h"], 0.1)):
        times = latency.measure(on, contender, 1_000, 0.5, tmp_path, another_at=at)
        assert len(times) == 50
