"""No schedule of the shipped protocol serves a stale value; schedules of wrong ones do."""

import os
from collections.abc import Callable, Iterator
from hashlib import sha1
from types import ModuleType

import pytest
import redis
from redis.cluster import RedisCluster as ClusterClient

from invalidator.cache import entry, filling, protocol, scripts
from invalidator.cache.base import WritePlan
from invalidator.cache.entry import Names
from tests.backends.redis_cluster import RedisCluster
from tests.conftest import StartRedis
from tests.integration.cache.schedules import SCENARIOS, Scenario, World, stale_reads

SHORT, SHORT_CLUSTER = 600, 200
LONG, LONG_CLUSTER = 90_000, 10_000
SEED = int(os.environ.get("SCHEDULES_SEED", "1"))
ENOUGH = 3_000  # schedules to find a mutant


@pytest.fixture
def client(start_redis: StartRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(start_redis().url) as client:
        yield client


@pytest.fixture
def cluster_client(cluster: RedisCluster) -> Iterator[ClusterClient]:
    client = ClusterClient("127.0.0.1", cluster.servers[0].port)
    yield client
    client.close()


@pytest.mark.parametrize("split", [False, True], ids=["together", "one by one"])
def test_no_schedule_is_stale(client: redis.Redis, split: bool) -> None:
    assert stale_reads(client, SHORT, SEED, split=split) == ""


def test_no_schedule_is_stale_on_a_cluster(cluster_client: ClusterClient) -> None:
    assert stale_reads(cluster_client, SHORT_CLUSTER, SEED, split=True) == ""


@pytest.mark.slow
def test_no_schedule_of_many_is_stale(client: redis.Redis) -> None:
    for split in (False, True):
        assert stale_reads(client, LONG // 2, SEED + 1, split=split) == ""


@pytest.mark.slow
def test_no_schedule_of_many_is_stale_on_a_cluster(cluster_client: ClusterClient) -> None:
    assert stale_reads(cluster_client, LONG_CLUSTER, SEED + 1, split=True) == ""


Patch = pytest.MonkeyPatch
Mutate = Callable[[Patch], None]


def _script(script: scripts.Script, old: str, new: str) -> Mutate:
    def mutate(patch: Patch) -> None:
        source = script.source.decode()
        assert old in source
        wrong = source.replace(old, new).encode()
        sha = sha1(wrong, usedforsecurity=False).hexdigest()
        patch.setitem(scripts._SOURCES, sha, wrong)
        patch.setattr(script, "source", wrong)
        patch.setattr(script, "sha", sha)

    return mutate


def _code(module: ModuleType, old: str, new: str, name: str = "read") -> Mutate:
    """Compile the module anew with a change, and let the protocol use what it has of a name."""

    def mutate(patch: Patch) -> None:
        assert module.__file__
        with open(module.__file__, encoding="utf-8") as file:
            source = file.read()
        assert old in source
        wrong = ModuleType("wrong")
        exec(compile(source.replace(old, new), "wrong", "exec"), vars(wrong))
        if module is protocol:
            patch.setattr(World, "protocol", wrong)
        else:
            patch.setattr(protocol, name, vars(wrong)[name])

    return mutate


def _absent_is_equal_to_absent(patch: Patch) -> None:
    line = Names.line
    patch.setattr(Names, "line", lambda self, stamps: line(self, [s or b"0" for s in stamps]))
    _script(scripts.STAMP, "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])", "")(patch)
    _script(scripts.STAMP, "return ARGV[1]", "return '0'")(patch)


def _one_token_per_process(patch: Patch) -> None:
    patch.setattr(protocol, "new_token", lambda: b"A" * 16)


_HOLDS = "if string.sub(h, 31, 46) == ARGV[1] and"
_JOINS = "if flight is not None and line is not None and flight.line == line:"

MUTANTS: dict[str, tuple[str, Mutate]] = {
    "a put needs no lease": (
        "key",
        _script(scripts.PUT, "if string.sub(h, 31, 46) ~= ARGV[1] then", "if false then"),
    ),
    "one token per process": ("key", _one_token_per_process),
    "a writer fills without its lease": (
        "writing and key",
        _script(scripts.FINISH, _HOLDS, "if true and"),
    ),
    "a writer fills without the tags that the loader names": (
        "writing, dynamic tag",
        lambda patch: patch.setattr(WritePlan, "_names_all_tags", lambda _: True),
    ),
    "a row version fills what is empty": (
        "versioned and key",
        _script(
            scripts.REPLACE,
            "redis.call('UNLINK', KEYS[1])",
            "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])",
        ),
    ),
    "loads are shared by key": (
        "key",
        _code(
            protocol, "flights.get(lease.token)", "flights.get(min(self.here.flights, default=b''))"
        ),
    ),
    "loads are shared whatever their stamps": (
        "tag",
        _code(protocol, _JOINS, "if flight is not None:"),
    ),
    "a load with tags of its own is shared": (
        "dynamic tag, before",
        _code(filling, "shared=not load.noted", "shared=True", "Filling"),
    ),
    "stamps are not compared": (
        "tag",
        _code(entry, "if not entry.startswith(line, HEAD)", "if not entry", "judge"),
    ),
    "an absent stamp is equal to an absent one": ("tag", _absent_is_equal_to_absent),
    "an absent version begins at 1": (
        "version",
        _script(scripts.VERSION, "string.format('%.0f', t[1] * 1000000 + t[2])", "'1'"),
    ),
}


def _named(name: str) -> Scenario:
    return next(each for each in SCENARIOS if each.name == name)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_protocol_is_caught(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    scenario, mutate = MUTANTS[mutant]
    mutate(monkeypatch)
    assert stale_reads(client, ENOUGH, SEED, split=True, scenarios=[_named(scenario)])
