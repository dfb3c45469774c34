"""Plays the rows and prints their table: python -m tests.faults [--rows 1,16-19] [--write PAGE].

A page is written only when all rows were played in full.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.faults.catalogue import ROWS
from tests.faults.figures import Figures, table
from tests.faults.play import play

SEED = 7
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


def main() -> int:
    asked = _arguments()
    began = time.monotonic()
    with ExitStack() as stack:

        @cache
        def kafka() -> Kafka:
            return Kafka(stack.enter_context(KafkaBroker()).bootstrap)

        played = [
            _play(number, asked.seed, kafka, short=asked.short, logs=asked.logs)
            for number in asked.rows
        ]
    text = report(played, asked.seed, time.monotonic() - began)
    print(text)
    if asked.write and not asked.short and asked.rows == [*ROWS]:
        write(asked.write, text)
    return 1 if any(figures.failed for figures in played) else 0


def report(played: list[Figures], seed: int, seconds: float) -> str:
    failed = sum(bool(figures.failed) for figures in played)
    return (
        f"{table(played)}\n\nSeed {seed}; {len(played)} rows, {failed} failed; "
        f"{seconds / 60:.0f} min."
    )


def write(page: Path, text: str) -> None:
    """Replace what is between the two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _play(
    number: int,
    seed: int,
    kafka: Callable[[], Kafka],
    *,
    short: bool,
    logs: Path | None,
) -> Figures:
    began = time.monotonic()
    figures = play(ROWS[number], seed, kafka, short=short, logs=logs)
    took = time.monotonic() - began
    print(f"{took:6.1f} s  {' | '.join(figures.cells())}", file=sys.stderr, flush=True)
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--rows", type=lambda text: [*_numbers(text)], default=[*sorted(ROWS)])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the daemons' logs there")
    parser.add_argument("--short", action="store_true", help="do less often what is repeated")
    return parser.parse_args()


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
