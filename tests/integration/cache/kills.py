"""Kill processes that write and flush, at random moments, and compare what PostgreSQL counted.

    python -m tests.integration.cache.kills --redis URL --postgres URL --kills 1000

Every call is noted in a file before it is made and after it has returned. In the end each key was
counted as often as its calls returned; a call that was cut short may count or not.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from invalidator.cache import SETTINGS, Cache, SyncCache
from invalidator.cache.behind import Flush, SyncWriteBehind, WriteBehind

PROCESSES = 3
LIFE = 0.06  # seconds between two kills, at most
OPTIONS: dict[str, Any] = {"size": 20, "interval": "10ms", "lease": "60ms"}
TABLES = """
    CREATE TABLE counts (key text PRIMARY KEY, n bigint);
    CREATE TABLE flushes (token text PRIMARY KEY);
    CREATE TABLE repeats (token text);
"""
TOKEN = "INSERT INTO flushes VALUES (%s) ON CONFLICT DO NOTHING"
REPEAT = "INSERT INTO repeats VALUES (%s)"
COUNT = """
    INSERT INTO counts SELECT * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (key) DO UPDATE SET n = counts.n + excluded.n
"""


class Ledger:
    """Lines in a file that survive their writer."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(self, what: str, key: str) -> None:
        os.write(self._file, f"{what} {key}\n".encode())


def threads(args: argparse.Namespace, ledger: Ledger) -> None:
    database = psycopg.connect(args.postgres)

    def flush(batch: Flush) -> None:
        with database.transaction():
            done = database.execute(TOKEN, [batch.token])
            if done.rowcount or args.forgetful:
                database.execute(COUNT, [list(batch.rows), list(batch.rows.values())])
            else:
                database.execute(REPEAT, [batch.token])
        time.sleep(0.002)  # so that some are killed here

    behind = SyncWriteBehind(SyncCache.from_url(args.redis), "views", flush, **OPTIONS)
    behind.start()
    for key in keys():
        ledger.note("called", key)
        behind.write(key)
        ledger.note("returned", key)


def coroutines(args: argparse.Namespace, ledger: Ledger) -> None:
    async def main() -> None:
        database = await psycopg.AsyncConnection.connect(args.postgres)

        async def flush(batch: Flush) -> None:
            async with database.transaction():
                done = await database.execute(TOKEN, [batch.token])
                if done.rowcount or args.forgetful:
                    rows = [list(batch.rows), list(batch.rows.values())]
                    await database.execute(COUNT, rows)
                else:
                    await database.execute(REPEAT, [batch.token])
            await asyncio.sleep(0.002)

        behind = WriteBehind(Cache.from_url(args.redis, timeout=60.0), "views", flush, **OPTIONS)
        behind.start()

        async def write(names: Iterator[str]) -> None:
            for key in names:
                ledger.note("called", key)
                await behind.write(key)
                ledger.note("returned", key)

        names = keys()
        await asyncio.gather(*(write(names) for _ in range(4)))

    asyncio.run(main())


def keys() -> Iterator[str]:
    """Yield keys of this process alone, and keys that all share."""
    for number in count():
        yield f"{os.getpid()}:{number}"
        yield f"page {random.randrange(30)}"


def born(args: argparse.Namespace, path: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        random.seed()
        random.choice([threads, coroutines])(args, Ledger(path))
    finally:
        os._exit(1)


def killing(args: argparse.Namespace, path: Path) -> None:
    alive: list[int] = []
    try:
        for _ in range(args.kills):
            alive += [born(args, path) for _ in range(PROCESSES - len(alive))]
            time.sleep(random.uniform(0, LIFE))
            kill(alive.pop(random.randrange(PROCESSES)))
    finally:
        for victim in alive:
            kill(victim)


def kill(victim: int) -> None:
    os.kill(victim, signal.SIGKILL)
    _, status = os.waitpid(victim, 0)
    assert os.WIFSIGNALED(status), "it ended by itself"


def drain(args: argparse.Namespace) -> None:
    database = psycopg.connect(args.postgres, autocommit=True)

    def flush(batch: Flush) -> None:
        with database.transaction():
            if database.execute(TOKEN, [batch.token]).rowcount or args.forgetful:
                database.execute(COUNT, [list(batch.rows), list(batch.rows.values())])

    with SyncWriteBehind(SyncCache.from_url(args.redis), "views", flush, **OPTIONS) as behind:
        until = time.monotonic() + 60
        while behind.backlog() and time.monotonic() < until:
            time.sleep(0.01)
        assert not behind.backlog(), "the journal was not drained"


def compare(args: argparse.Namespace, path: Path) -> dict[str, int]:
    called, returned = Counter[str](), Counter[str]()
    for line in path.read_text().splitlines():
        what, _, key = line.partition(" ")
        (called if what == "called" else returned)[key] += 1
    with psycopg.connect(args.postgres) as database:
        counted: dict[str, int] = dict(database.execute("SELECT key, n FROM counts").fetchall())
        ((flushes,),) = database.execute("SELECT count(*) FROM flushes").fetchall()
        ((repeats,),) = database.execute("SELECT count(*) FROM repeats").fetchall()
    return {
        "kills": args.kills,
        "calls": returned.total(),
        "lost": sum(max(0, n - counted.get(key, 0)) for key, n in returned.items()),
        "twice": sum(max(0, n - called[key]) for key, n in counted.items()),
        "flushes": flushes,
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    parser.add_argument("--postgres", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--forgetful", action="store_true", help="flush without regard to tokens")
    args = parser.parse_args()
    SETTINGS.update(socket_timeout=60.0, socket_connect_timeout=60.0)  # the machine may be busy
    with psycopg.connect(args.postgres) as database:
        database.execute(TABLES)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        killing(args, path)
        drain(args)
        json.dump(compare(args, path), sys.stdout)


if __name__ == "__main__":
    main()
