"""The benchmarks work: a few events for some contenders. How fast anything is, no test says."""

import importlib
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks import report, throughput
from benchmarks.servers import Servers
from tests.backends.kafka_client import Kafka
from tests.pages import Block, apart

EVENTS = 2_000
TYPED = [pytest.param(block, id=block.place, marks=pytest.mark.slow) for block in apart(__file__)]


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
        assert 0 <= run.steady <= run.cpu  # without the start: at times less than a clock's tick
        assert run.memory > 1e6
    capsys.readouterr()
    report.show(runs)
    said = capsys.readouterr().out
    for entry in entries:
        assert f"| {entry.contender.letter}) {entry.contender.name}" in said
    assert "| b) hand-written | per CPU second |" in said
    assert "| itself: change events to two keys an event |" in said


def test_contenders_that_cannot_run_here_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [entry.contender.letter for entry in throughput.entries_of("aefg", ["plain"], 1)] == [
        "a"
    ]
    said = capsys.readouterr().out
    assert said.count("no bento on PATH") == 2
    assert "no go on PATH" in said


@pytest.mark.parametrize("block", TYPED)
def test_the_commands_of_the_page_of_figures_run(
    block: Block, on: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run it in this process and on the tests' servers: starting both takes most of the time."""
    for python, as_module, name, *words in block.commands():
        assert [python, as_module] == ["python", "-m"]
        benchmark = importlib.import_module(name)
        if hasattr(benchmark, "servers"):
            monkeypatch.setattr(benchmark, "servers", lambda **_: nullcontext(on))
        benchmark.main([*words, "--quick"])
    assert re.search(r"\d", capsys.readouterr().out)
