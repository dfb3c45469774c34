"""Write-behind: a call beside a bare XADD, and increments a second into PostgreSQL, in one run.

    python -m benchmarks.write_behind [--quick]

The increments are of 500 rows, made by one process with `writers` coroutines; the same process
flushes them each second. Redis and PostgreSQL run on the same machine.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import redis
import redis.asyncio

from benchmarks.options import sizes
from benchmarks.readside import Way, measure, measure_async, show
from invalidator.cache import Cache, SyncCache
from invalidator.cache.behind import Flush, SyncWriteBehind, WriteBehind
from tests.backends.postgres import PostgresServer
from tests.backends.redis_server import RedisServer

ROWS = 500
TABLES = """
    CREATE TABLE counts (key text PRIMARY KEY, n bigint NOT NULL);
    CREATE TABLE flushes (token text PRIMARY KEY, at timestamptz DEFAULT now());
"""
TOKEN = "INSERT INTO flushes VALUES (%s) ON CONFLICT DO NOTHING"
COUNT = """
    INSERT INTO counts SELECT * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (key) DO UPDATE SET n = counts.n + excluded.n
"""


async def nowhere(_: Flush) -> None:
    raise AssertionError("nobody flushes here")


async def call_in_asyncio(url: str, rounds: int, calls: int) -> None:
    cache, client = Cache.from_url(url), redis.asyncio.Redis.from_url(url)
    behind = WriteBehind(cache, "calls", nowhere)
    ways = [
        Way("bare XADD", lambda: client.xadd("bare", {"rows": b'{"home":1}'})),
        Way("write", lambda: behind.write("home")),
    ]
    await measure_async(ways, rounds, calls)
    show("asyncio, a call", ways)
    await cache.close()
    await client.aclose()


def call_in_threads(url: str, rounds: int, calls: int) -> None:
    cache, client = SyncCache.from_url(url), redis.Redis.from_url(url)
    behind = SyncWriteBehind(cache, "calls", lambda _: None)
    ways = [
        Way("bare XADD", lambda: client.xadd("bare", {"rows": b'{"home":1}'})),
        Way("write", lambda: behind.write("home")),
    ]
    measure(ways, rounds, calls)
    show("threads, a call", ways)
    cache.close()
    client.close()


async def increments(url: str, postgres: str, writers: int, seconds: float) -> None:
    """Count as fast as it goes, and check in the end that everything was counted."""
    database = await psycopg.AsyncConnection.connect(postgres, autocommit=True)
    await database.execute(TABLES)
    sizes_of_flushes: list[int] = []

    async def flush(batch: Flush) -> None:
        sizes_of_flushes.append(len(batch.rows))
        async with database.transaction():
            if (await database.execute(TOKEN, [batch.token])).rowcount:
                await database.execute(COUNT, [list(batch.rows), list(batch.rows.values())])

    cache = Cache.from_url(url)
    until = time.perf_counter() + seconds

    async def count(first: int, behind: WriteBehind) -> int:
        made = 0
        while time.perf_counter() < until:
            await behind.write(f"row {(first + made) % ROWS}")
            made += 1
        return made

    began, cpu = time.perf_counter(), time.process_time()
    async with WriteBehind(cache, "counts", flush, size=ROWS) as behind:
        counts = (count(97 * number, behind) for number in range(writers))
        made = sum(await asyncio.gather(*counts))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    ((total,),) = await (await database.execute("SELECT sum(n) FROM counts")).fetchall()
    assert total == made, f"{made:,} were counted as {total:,}"
    rows = sum(sizes_of_flushes) / len(sizes_of_flushes)
    print(
        f"\n{made / took:,.0f} increments/s, the last flush included; {len(sizes_of_flushes)}"
        f" flushes of {rows:.0f} rows; {100 * cpu / took:.0f}% of a core in this process"
    )
    await cache.close()
    await database.close()


def main(words: Sequence[str] | None = None) -> None:
    asked: Any = sizes(
        __doc__, words, rounds=(25, 1), calls=(300, 3), writers=(200, 5), seconds=(10.0, 0.2)
    )
    with RedisServer() as server, PostgresServer() as postgres:
        asyncio.run(call_in_asyncio(server.url, asked.rounds, asked.calls))
        call_in_threads(server.url, asked.rounds, asked.calls)
        asyncio.run(increments(server.url, postgres.url, asked.writers, asked.seconds))


if __name__ == "__main__":
    main()
