"""A process of the service: its workers read rows through the cache, and write some themselves.

python -m tests.system.reader --number 0 --world asyncio ...
"""

import argparse
import asyncio
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from invalidator.cache import L1, SETTINGS, Cache, Kind, Kinds, SyncCache
from invalidator.cache.errors import CacheError
from tests.backends.redis_sentinel import SERVICE
from tests.system.aside import Aside, SyncAside
from tests.system.board import BLOCK, Board
from tests.system.events import SELECT, UPDATE, Publisher, depends, key, popular
from tests.system.judge import Judge, dawdling, row_of

KINDS = Kinds(Kind(ttl="1m", lease="2s", wait="3s"))
TASKS, THREADS = 8, 4
MANY, WRITES, REFRESHES = 0.25, 0.01, 0.01  # shares of the calls; the others read one row
TROUBLE = (CacheError, redis.RedisError, OSError)  # of a Redis that is down, for writers and aside


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("board", "postgres", "bootstrap", "topic", "source", "notes"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--world", choices=["asyncio", "threads"], required=True)
    parser.add_argument("--redis", help="a URL")
    parser.add_argument("--sentinels", type=int, nargs="*", help="ports, in place of a URL")
    parser.add_argument("--through", type=int, help="the port of a proxy before the primary")
    parser.add_argument("--aside", action="store_true", help="cache as those do who know no better")
    parser.add_argument("--near", action="store_true", help="keep copies in the process")
    return parser.parse_args()


class Reader:
    """What both worlds have in common."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.board = Board(Path(args.board))
        self.publisher = Publisher(args.bootstrap, args.topic, args.source)
        self.draw = random.Random()
        self.refused = 0
        self.cache: Any
        self.options: dict[str, Any] = {"kinds": KINDS}
        if args.near:
            self.options.update(l1=L1(entries=400, bytes="1MiB"), backplane=True)

    def judge(self, worker: int) -> Judge:
        args = self.args
        return Judge(self.board, args.number, worker, Path(args.notes), near=args.near)

    def rows(self, how: str) -> list[int]:
        """Choose what to read: rows of one block, which depend on the same names."""
        first = popular(self.draw, "key" if self.args.aside else "")
        if how == "get_many":
            return [*range(first, first + BLOCK)]
        return [first + self.draw.randrange(BLOCK)]

    def how(self) -> str:
        chance = self.draw.random()
        if self.args.aside or chance > MANY + WRITES + REFRESHES:
            return "get_or_load"
        if chance < MANY:
            return "get_many"
        if self.board.paused:
            return "get_or_load"
        return "writing" if chance < MANY + WRITES else "refresh"

    def note_refused(self, judge: Judge) -> None:
        """Count stale fills that did not happen since the last call."""
        if not self.args.aside:
            refused = self.cache.stats.refused
            judge.count("refused", refused - self.refused)
            self.refused = refused

    def client(self, sentinel: type[Any], plain: type[Any]) -> Any:
        args = self.args
        if not args.sentinels:
            return plain.from_url(args.redis, **SETTINGS)
        hosts = [("127.0.0.1", port) for port in args.sentinels]
        found = sentinel(hosts, sentinel_kwargs=SETTINGS, **SETTINGS)
        if args.through and sentinel is AsyncSentinel:
            found.discover_master = self.through_async
        elif args.through:
            found.discover_master = self.through
        return found.master_for(SERVICE)

    def through(self, _: str) -> tuple[str, int]:
        """Say that the primary is where the proxy is, which follows it."""
        return "127.0.0.1", self.args.through

    async def through_async(self, service: str) -> tuple[str, int]:
        return self.through(service)


class Coroutines(Reader):
    async def run(self) -> None:
        client = self.client(AsyncSentinel, redis.asyncio.Redis)
        self.cache = Aside(client) if self.args.aside else Cache(client, **self.options)
        self.databases = [
            await psycopg.AsyncConnection.connect(self.args.postgres, autocommit=True)
            for _ in range(4)
        ]
        await asyncio.gather(*(self.work(worker) for worker in range(TASKS)))

    async def work(self, worker: int) -> None:
        judge, database = self.judge(worker), self.databases[worker % len(self.databases)]

        async def select(rows: Sequence[int]) -> dict[str, Any]:
            judge.count("loads")
            found = await (await database.execute(SELECT, [list(rows)])).fetchall()
            await asyncio.sleep(dawdling(self.draw))
            return {key(row): row_of(row, version) for row, version in found}

        while True:
            how = self.how()
            rows = self.rows(how)
            if worker == 0 and self.draw.random() < 0.02:
                self.note_refused(judge)
            try:
                await self.call(how, rows, judge, database, select)
            except TROUBLE:
                await asyncio.sleep(0.05)

    async def call(
        self, how: str, rows: list[int], judge: Judge, database: Any, select: Any
    ) -> None:
        row = rows[0]

        async def load(_: object) -> Any:
            return (await select([row]))[key(row)]

        claims = judge.began(*rows)
        if how == "get_many":
            wanted = {key(row): row for row in rows}
            found = await self.cache.get_many(
                wanted, lambda part: select([*part.values()]), **depends(row)
            )
            judge.judge(claims, {row: found[key(row)] for row in rows}, how)
        elif how == "writing":
            await self.write(row, judge, database)
        elif how == "refresh":
            await self.cache.invalidate(key(row))
            value = await self.cache.get_or_load(key(row), load, **depends(row))
            judge.judge(claims, {row: value}, how)
        else:
            value = await self.cache.get_or_load(key(row), load, **depends(row))
            judge.judge(claims, {row: value}, how)

    async def write(self, row: int, judge: Judge, database: Any) -> None:
        epoch, version = self.board.epoch, 0
        try:
            async with self.cache.writing(key(row), **depends(row)) as write:
                found = await (await database.execute(UPDATE, [row])).fetchone()
                version = found[0]
                write.value = row_of(row, version)
            judge.wrote(row, version, epoch)
            judge.count("writes")
        finally:
            if version:
                self.publisher.send(row, version)


class Threads(Reader):
    def run(self) -> None:
        client = self.client(Sentinel, redis.Redis)
        self.cache: Any = (
            SyncAside(client) if self.args.aside else SyncCache(client, **self.options)
        )
        threads = [
            threading.Thread(target=self.work, args=[worker], daemon=True)
            for worker in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def work(self, worker: int) -> None:
        judge = self.judge(worker)
        database = psycopg.connect(self.args.postgres, autocommit=True)

        def select(rows: Sequence[int]) -> dict[str, Any]:
            judge.count("loads")
            found = database.execute(SELECT, [list(rows)]).fetchall()
            time.sleep(dawdling(self.draw))
            return {key(row): row_of(row, version) for row, version in found}

        while True:
            how = self.how()
            rows = self.rows(how)
            if worker == 0 and self.draw.random() < 0.02:
                self.note_refused(judge)
            try:
                self.call(how, rows, judge, database, select)
            except TROUBLE:
                time.sleep(0.05)

    def call(self, how: str, rows: list[int], judge: Judge, database: Any, select: Any) -> None:
        row = rows[0]

        def load(_: object) -> Any:
            return select([row])[key(row)]

        claims = judge.began(*rows)
        if how == "get_many":
            wanted = {key(row): row for row in rows}
            found = self.cache.get_many(
                wanted, lambda part: select([*part.values()]), **depends(row)
            )
            judge.judge(claims, {row: found[key(row)] for row in rows}, how)
        elif how == "writing":
            self.write(row, judge, database)
        elif how == "refresh":
            self.cache.invalidate(key(row))
            value = self.cache.get_or_load(key(row), load, **depends(row))
            judge.judge(claims, {row: value}, how)
        else:
            value = self.cache.get_or_load(key(row), load, **depends(row))
            judge.judge(claims, {row: value}, how)

    def write(self, row: int, judge: Judge, database: Any) -> None:
        epoch, version = self.board.epoch, 0
        try:
            with self.cache.writing(key(row), **depends(row)) as write:
                version = database.execute(UPDATE, [row]).fetchone()[0]
                write.value = row_of(row, version)
            judge.wrote(row, version, epoch)
            judge.count("writes")
        finally:
            if version:
                self.publisher.send(row, version)


def main() -> None:
    args = arguments()
    if args.world == "asyncio":
        asyncio.run(Coroutines(args).run())
    else:
        Threads(args).run()


if __name__ == "__main__":
    main()
