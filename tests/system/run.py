"""Read through the cache while everything goes wrong, and compare what was read with floors.

    python -m tests.system.run --kafka HOST:PORT --reads 1000000

Prints what happened as JSON; `stale` holds the reads that broke the promise.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka
from tests.backends.postgres import PostgresServer
from tests.system.board import COUNTS
from tests.system.faults import FAULTS, fail_over
from tests.system.stage import System

SHOWN = 20  # stale reads


def run(system: System, options: argparse.Namespace) -> dict[str, Any]:
    """Let faults happen, each kind once before any happens again, until enough was read."""
    draw = random.Random(options.seed)
    until_sync(lambda: system.board.total("judged"), what="reads are judged")
    began, happened = time.monotonic(), Counter[str]()
    ahead: list[Any] = []
    while not _enough(system, options, time.monotonic() - began, happened):
        if not ahead:
            ahead = [fail_over, *draw.sample(FAULTS, len(FAULTS))] if not options.calm else [_calm]
        fault = ahead.pop(0)
        fault(system, draw)
        happened[fault.__name__] += 1
        time.sleep(draw.uniform(0, options.pause))
        if said := system.died():
            raise AssertionError(said)
    return _result(system, happened, time.monotonic() - began)


def _calm(_: System, __: random.Random) -> None:
    time.sleep(0.5)


def _enough(
    system: System, options: argparse.Namespace, seconds: float, happened: Counter[str]
) -> bool:
    if options.until_stale and system.stale():
        return True
    enough = seconds >= options.seconds and happened.total() >= options.faults
    return bool(enough and system.board.total("judged") >= options.reads)


def _result(system: System, happened: Counter[str], seconds: float) -> dict[str, Any]:
    stale = system.stale()
    return {
        "seconds": round(seconds, 1),
        **{what: system.board.total(what) for what in COUNTS},
        "announced": system.listener.announced,
        "faults": dict(happened),
        "stale": len(stale),
        "first": stale[:SHOWN],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True, help="the address of a broker")
    parser.add_argument("--reads", type=int, default=0, help="that are judged, at least")
    parser.add_argument("--seconds", type=float, default=0.0, help="at least")
    parser.add_argument("--faults", type=int, default=0, help="at least")
    parser.add_argument("--pause", type=float, default=1.0, help="between faults, at most")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--aside", action="store_true", help="plain cache-aside, in place of ours")
    parser.add_argument("--calm", action="store_true", help="no faults")
    parser.add_argument("--until-stale", action="store_true", help="end with the first stale read")
    options = parser.parse_args()
    with (
        TemporaryDirectory() as folder,
        PostgresServer() as database,
        System(Path(folder), Kafka(options.kafka), database.url, options) as system,
    ):
        json.dump(run(system, options), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
