"""Plays rows and judges them."""

import random
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import redis

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka
from tests.faults.figures import Figures
from tests.faults.rows import Row
from tests.faults.stage import Stage

PATIENCE = 60.0  # seconds beyond a row's limit, so that the figure is known where it is too large
MEGABYTE = 1e6


def play(
    row: Row,
    seed: int,
    kafka: Callable[[], Kafka],
    *,
    short: bool = False,
    slack: float = 1.0,
    logs: Path | None = None,
) -> Figures:
    """Play the row; whatever goes wrong is a figure.

    In short, what is repeated is done less often. Limits of time are multiplied by `slack`.
    `logs` is where the daemons' logs are kept.
    """
    figures = Figures(row.number, row.fault, impossible=row.impossible)
    if row.impossible:
        return figures
    with ExitStack() as stack:
        rng = random.Random(f"{seed}/{row.number}")
        stage = Stage(stack, rng, kafka, short=short, slack=slack)
        try:
            row.play(stage)
            _finish(row, stage, figures, slack)
        except Exception as error:  # noqa: BLE001 - the other rows shall be played
            figures.failed.append(_said(error))
        figures.failed += [*stage.notes, *_crashes(stage)]
        if logs:
            _keep_logs(stage, logs / str(row.number))
    return figures


def _crashes(stage: Stage) -> list[str]:
    """Name daemons that ended on their own: a row may kill one, or cut its drain short (3)."""
    ended = {member.name: member.daemon.process.poll() for member in stage.members}
    return [f"{name} crashed ({code})" for name, code in ended.items() if code in (1, 2)]


def _keep_logs(stage: Stage, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for member in stage.members:
        (folder / f"{member.name}.log").write_text(member.daemon.log())


def _finish(row: Row, stage: Stage, figures: Figures, slack: float) -> None:
    load = stage.load
    load.publish()
    began = stage.healed_at or time.monotonic()
    patience = row.recover * slack + PATIENCE - (time.monotonic() - began)
    until_sync(load.quiet, patience, "all is acknowledged")
    if stage.late:
        stage.late.stop()
    _await_nothing_lost(stage, row.grace * slack)
    figures.recovered = time.monotonic() - began
    _count(stage, figures)
    _look_at_members(stage, figures)
    _judge(row, figures, slack)


def _await_nothing_lost(stage: Stage, grace: float) -> None:
    """Wait for what nobody acknowledges: messages of a channel, what a failover brought back."""
    with suppress(AssertionError):  # it will be counted
        until_sync(lambda: not stage.load.lost(), grace)


def _count(stage: Stage, figures: Figures) -> None:
    load = stage.load
    there = load.cache.there()
    letters = [letter[b"raw"] for letter in load.state.dead()]
    figures.events = load.ledger.events
    figures.stale = len(load.ledger.stale(there, set(letters)))
    figures.lost = len(load.ledger.lost(there, set(letters)))
    figures.dead = len(set(letters))
    figures.poisoned = len(load.ledger.poisoned)
    planned = sum(int(member.gauges.get("planned")) for member in stage.members)
    figures.repeated = max(0, planned - load.sent)
    figures.longest = max(member.gauges.get("longest") for member in stage.members)


def _look_at_members(stage: Stage, figures: Figures) -> None:
    survivors = [member for member in stage.living if member.before]
    if survivors:
        leaks = [member.leaked() for member in survivors]
        figures.leaked = (sum(tasks for tasks, _ in leaks), sum(fds for _, fds in leaks))
        figures.grown = max(member.grown() for member in survivors) / MEGABYTE
    for member in stage.living:
        member.await_ready()
        code = member.daemon.stop()
        stage.note(code != 0, f"{member.name} ended with {code}")


def _judge(row: Row, figures: Figures, slack: float) -> None:
    def wrong(found: bool, what: str) -> None:
        if found:
            figures.failed.append(what)

    wrong(figures.lost > 0, f"{figures.lost} events lost")
    wrong(figures.stale > 0, f"{figures.stale} keys stale")
    too_late = (figures.recovered or 0) > row.recover * slack
    wrong(too_late, f"recovery took more than {row.recover:g} s")
    wrong(figures.longest > row.longest * slack, f"an await took more than {row.longest:g} s")
    if row.repeated is not None:
        wrong(figures.repeated > row.repeated, f"{figures.repeated} events repeated")
    if row.dead is not None:
        expected = figures.poisoned + row.dead
        wrong(figures.dead != expected, f"{expected} dead letters were expected")
    if figures.leaked:
        tasks, descriptors = figures.leaked
        wrong(tasks > 0, f"{tasks} tasks leaked")
        wrong(descriptors > 0, f"{descriptors} descriptors leaked")
    wrong((figures.grown or 0) > row.grown, f"grown by more than {row.grown:g} MB")


def _said(error: Exception) -> str:
    if isinstance(error, AssertionError | redis.RedisError):
        lines = str(error).splitlines() or [type(error).__name__]
        return lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return "; ".join(traceback.format_exception_only(error)).strip() + f" at {_where(error)}"


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.name}, line {frame.lineno} of {Path(frame.filename).name}"
