"""A finite source is driven to its end, at a pace, and a signal ends it in order."""

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from invalidator.daemon.once import Progress, once
from invalidator.errors import ConfigError
from invalidator.rules import RuleSet
from invalidator.settings import Settings, load
from invalidator.targets.store import Store
from tests.backends import until
from tests.backends.waiting import turn
from tests.integration.piping import RULES, AllowKeys, dead_letters, order, rules_from
from tests.memory_source import MemorySource

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from tests.conftest import StartRedis


class Finite(MemorySource):
    """What was published before it began."""

    closed = False

    @property
    def done(self) -> bool:
        return self._next >= len(self._records)

    @property
    def total(self) -> int | None:
        return len(self._records)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def rules(tmp_path: "Path") -> RuleSet:
    return rules_from(RULES, tmp_path)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load(redis_url=redis_url, redis_timeout="500ms")


def source_of(*values: bytes) -> Finite:
    source = Finite()
    source.publish(*values)
    return source


async def test_all_that_it_has_is_settled_and_then_it_ends(
    settings: Settings, rules: RuleSet, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    redis_now.mset({f"order:single:o{n}": "stale" for n in range(50)})
    source, told = source_of(*map(order, range(50)), b"not json"), list[int]()
    said = await once(source, settings, rules, tell=lambda progress: told.append(progress.settled))
    assert said == Progress(total=51, settled=51, rejected=1, complete=True)
    assert told[-1] == 51
    assert source.closed
    assert redis_now.keys() == [b"invalidator:dead"]
    assert [letter["raw"] for letter in dead_letters(redis_now)] == [b"not json"]


async def test_nothing_is_the_shortest_of_all(settings: Settings, rules: RuleSet) -> None:
    assert await once(source_of(), settings, rules) == Progress(complete=True)


async def test_a_dry_run_leaves_everything_as_it_is(
    settings: Settings, rules: RuleSet, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("order:single:o1")
    redis_now.set("order:single:o1", "stale")
    dry = settings.model_copy(update={"dry_run": True})
    said = await once(source_of(order(1), b"not json"), dry, rules)
    assert (said.settled, said.rejected) == (2, 1)
    assert redis_now.keys() == [b"order:single:o1"]


async def test_the_pace_is_kept(settings: Settings, rules: RuleSet) -> None:
    began = time.monotonic()
    said = await once(source_of(*map(order, range(60))), settings, rules, per_second=100)
    assert said.complete
    assert time.monotonic() - began >= 0.5, "the first ten at once, and every 0.1 s ten more"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_settles_what_was_read_and_reads_no_more(
    settings: Settings, rules: RuleSet, redis_now: "redis.Redis", number: signal.Signals
) -> None:
    def tell(_: Progress) -> None:
        os.kill(os.getpid(), number)

    source = source_of(*map(order, range(1000)))
    said = await once(source, settings, rules, per_second=50, tell=tell)
    assert not said.complete
    assert 0 < said.settled == source.settled < 1000
    assert source.closed


async def test_a_second_signal_gives_up_what_cannot_be_settled(
    start_redis: "StartRedis", rules: RuleSet
) -> None:
    server = start_redis()
    server.kill()
    source = source_of(order(1))
    running = asyncio.create_task(once(source, load(redis_url=server.url), rules))
    await until(lambda: source.done)
    os.kill(os.getpid(), signal.SIGINT)
    await turn()
    os.kill(os.getpid(), signal.SIGINT)
    assert await asyncio.wait_for(running, 60) == Progress()
    assert source.closed


async def test_a_server_that_is_away_is_waited_for(
    start_redis: "StartRedis", rules: RuleSet
) -> None:
    server = start_redis()
    server.kill()
    source = source_of(order(1))
    running = asyncio.create_task(once(source, load(redis_url=server.url), rules))
    await until(lambda: source.done)
    server.start()
    assert (await running).complete


async def test_what_breaks_it_is_raised_as_it_is(
    settings: Settings, rules: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(store: Store) -> None:
        raise ConfigError("never mind")

    monkeypatch.setattr(Store, "run", broken)
    source = source_of(*map(order, range(1000)))
    with pytest.raises(ConfigError, match="never mind"):
        await once(source, settings, rules, per_second=1)
    assert source.closed
