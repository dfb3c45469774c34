"""The proof: every stale fill among the sampled entries is found, and no fresh entry is called
stale. Writers change rows of PostgreSQL and publish events; readers fill the cache as they please.

`make test-freshness` takes the large numbers.
"""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis.asyncio

from invalidator.cache import Cache
from tests.backends import until
from tests.integration.freshness.conftest import Measured, measuring
from tests.integration.piping import AllowKeys, event

if TYPE_CHECKING:
    import redis

SIZE = float(os.environ.get("FRESHNESS_PROOF", "1"))  # 1,000 makes a million checks
RULES = """
rules:
  - name: row
    on: row.updated
    invalidate: {keys: ["row:{id}"]}
    verify: {cached: version, event: version}
"""
ROWS = 500
SLOW_READERS = 0.02  # the share of rows that are filled with what they were before the write


class Database:
    """Rows with a version."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection

    @classmethod
    async def of(cls, url: str) -> "Database":
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await connection.execute("CREATE TABLE row (id int PRIMARY KEY, version int NOT NULL)")
        await connection.execute(f"INSERT INTO row SELECT n, 0 FROM generate_series(1, {ROWS}) n")
        return cls(connection)

    async def versions(self, rows: Sequence[int]) -> dict[int, int]:
        found = await self._connection.execute(
            "SELECT id, version FROM row WHERE id = ANY(%s)", [list(rows)]
        )
        return dict(await found.fetchall())

    async def write(self, rows: Sequence[int]) -> dict[int, int]:
        found = await self._connection.execute(
            "UPDATE row SET version = version + 1 WHERE id = ANY(%s) RETURNING id, version",
            [list(rows)],
        )
        return dict(await found.fetchall())

    async def aclose(self) -> None:
        await self._connection.close()


class Clock:
    """A clock that jumps, so that no check has to be waited for."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def one_round(
    measured: Measured,
    database: Database,
    now: "redis.asyncio.Redis",
    clock: Clock,
    chance: random.Random,
) -> set[str]:
    """Write all rows once, and fill the cache; return the keys that were filled with old rows."""
    rows = range(1, ROWS + 1)
    slow = [row for row in rows if chance.random() < SLOW_READERS]
    old = await database.versions(slow)
    written = await database.write(rows)
    source = measured.bench.source
    before = source.settled
    source.publish(*(event("row.updated", id=r, version=v) for r, v in written.items()))
    await until(lambda: source.settled == before + ROWS)
    # Of the others, some read the new row, and some read nothing. Only then is it checked.
    fresh = {row: version for row, version in written.items() if chance.random() < 0.7}
    async with now.pipeline(transaction=False) as together:
        for row, version in {**fresh, **old}.items():
            together.set(f"row:{row}", f'{{"version": {version}}}')
        await together.execute()
    clock.ahead = 61.0
    while await measured.freshness.check_due():
        pass
    await until(lambda: not measured.freshness.waiting)  # its own task has taken some of them
    clock.ahead = 0.0
    return {f"row:{row}" for row in slow}


async def test_every_injected_stale_fill_is_found_and_nothing_else(
    redis_url: str, postgres: str, tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("row:*")
    rounds, clock, chance = int(4 * SIZE) // 2 or 1, Clock(), random.Random(1)
    async with redis.asyncio.Redis.from_url(redis_url) as now:
        database = await Database.of(postgres)
        async with (
            aclosing(database),
            measuring(
                RULES, redis_url, tmp_path, delays=(60.0,), now=clock, findings=ROWS
            ) as measured,
        ):
            injected = 0
            for _ in range(rounds):
                stale_before = measured.counts()["stale"]
                expected = await one_round(measured, database, now, clock, chance)
                newest = measured.findings()[: measured.counts()["stale"] - stale_before]
                assert {finding.key for finding in newest} == expected
                assert {finding.why for finding in newest} <= {"slow-reader"}
                injected += len(expected)
            assert measured.counts() == {
                "stale": injected,
                "fresh": rounds * ROWS - injected,
            }
            print(f"{rounds * ROWS:,} checks, {injected:,} stale fills, all of them found")


@pytest.mark.parametrize("leases", [False, True], ids=["by hand", "invalidator.cache"])
async def test_readers_with_leases_leave_nothing_stale_where_those_by_hand_do(
    redis_url: str, postgres: str, tmp_path: Path, allow_keys: AllowKeys, leases: bool
) -> None:
    """Readers and writers race; loads take up to 30 ms, so writes fall into them."""
    allow_keys("row:*")
    writes, chance = int(300 * SIZE), random.Random(2)
    async with redis.asyncio.Redis.from_url(redis_url) as now:
        database = await Database.of(postgres)
        cache = Cache(now)
        async with (
            aclosing(database),
            measuring(RULES, redis_url, tmp_path, delays=(0.1,)) as measured,
        ):
            ended = asyncio.Event()

            async def load(row: int) -> dict[str, int]:
                version = (await database.versions([row]))[row]
                await asyncio.sleep(chance.random() * 0.03)
                return {"version": version}

            async def read(row: int) -> None:
                if leases:
                    await cache.get_or_load(f"row:{row}", lambda _: load(row))
                elif await now.get(f"row:{row}") is None:
                    found = await load(row)
                    await now.set(f"row:{row}", f'{{"version": {found["version"]}}}')

            async def keep_reading() -> None:
                while not ended.is_set():
                    await read(chance.randrange(1, 21))
                    await asyncio.sleep(0)

            readers = [asyncio.create_task(keep_reading()) for _ in range(8)]
            for _ in range(writes):
                ((row, version),) = (await database.write([chance.randrange(1, 21)])).items()
                measured.bench.source.publish(event("row.updated", id=row, version=version))
                await asyncio.sleep(0.005)
            await until(lambda: measured.bench.source.settled == writes)
            await until(lambda: measured.freshness.waiting == 0)
            ended.set()
            await asyncio.gather(*readers)
            counts = measured.counts()
            assert counts.keys() <= {"fresh", "stale", "superseded"}
            assert counts["fresh"] > 0
            assert (counts["stale"] == 0) == leases, counts
            print(f"{writes:,} writes: {dict(counts)}")
