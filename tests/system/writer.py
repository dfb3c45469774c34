"""A process that writes rows and sends their events, until it is killed."""

import argparse
import random
import time
from pathlib import Path

import psycopg

from tests.system.board import BLOCK, Board
from tests.system.events import UPDATE, Publisher, popular

RATE = 60.0  # rows a second, in bursts


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("board", "postgres", "bootstrap", "topic", "source"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    board, draw = Board(Path(args.board)), random.Random()
    publisher = Publisher(args.bootstrap, args.topic, args.source)
    with psycopg.connect(args.postgres, autocommit=True) as database:
        while True:
            for _ in range(draw.randint(1, 6)):
                row = popular(draw) + draw.randrange(BLOCK)
                found = database.execute(UPDATE, [row]).fetchone()
                assert found is not None
                publisher.send(row, found[0])
            time.sleep(draw.expovariate(RATE / 3.5))
            while board.paused:
                time.sleep(0.05)


if __name__ == "__main__":
    main()
