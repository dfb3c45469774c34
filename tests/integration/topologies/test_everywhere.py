"""The same daemon on one server, on a primary that sentinels watch, and on a cluster."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from invalidator.cli import main
from invalidator.cli.audit.expected import Expected
from invalidator.cli.audit.findings import report
from invalidator.cli.audit.walk import audited
from invalidator.redisclient import Client, Command, client, converse, node, nodes
from invalidator.rules import load
from invalidator.runtime.health import Part
from invalidator.sources.pubsub.source import PubSubSource
from invalidator.sources.source import Source, Start
from invalidator.sources.stream.replay import DryStreamSource
from invalidator.sources.stream.source import StreamSource
from invalidator.targets.redis.announce import Announcer
from invalidator.targets.redis.failover import Servers
from invalidator.targets.redis.walk import Pace
from tests.backends import until
from tests.backends.choose import NO_OWN_REDIS, missing
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_sentinel import Watched
from tests.backends.redis_server import RedisServer
from tests.e2e.process import DaemonProcess
from tests.integration.piping import event, piping, rules_from
from tests.integration.test_hits import eager

RULES = """
version: 1
caches: {default: {tags: [{layout: set}, {layout: sorted-set, key: "z:{tag}"}, {layout: stamp}]}}
rules:
  - name: order-changed
    on: order.updated
    invalidate:
      keys: ["order:single:{orderId}", "{orderId}:order"]
      patterns: ["list:{orderId}:*"]
      tags: ["order:{orderId}"]
      versions: ["orders"]
"""
HITS = """
rules:
  - name: right
    on: changed
    invalidate: {keys: ["order:{id}"], tags: ["o{id}"], patterns: ["list:{id}:*"]}
  - name: wrong
    on: changed
    invalidate: {keys: ["ordr:{id}"], tags: ["x{id}"], patterns: ["lists:{id}:*"]}
"""
ORDERS = range(50)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere to run, and who may be asked there."""

    url: str
    servers: int  # that hold keys


@pytest.fixture(scope="module")
def one() -> Iterator[Place]:
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with RedisServer() as server:
        yield Place(server.url, 1)


@pytest.fixture(scope="module")
def watched() -> Iterator[Place]:
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with Watched() as found:
        yield Place(found.url, 1)


@pytest.fixture
def spread(cluster: RedisCluster) -> Place:
    return Place(cluster.url, 3)


@pytest.fixture(params=["one", "watched", "spread"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def redis(place: Place) -> AsyncIterator[Client]:
    async with client(place.url, 2.0) as connected:
        for server in (await nodes(connected)).values():
            await converse(server, [("FLUSHALL",)])
        yield connected


async def ask(redis: Client, *commands: Command) -> list[object]:
    replies = await converse(redis, commands)
    assert not [reply for reply in replies if isinstance(reply, Exception)]
    return replies


async def left(redis: Client) -> list[bytes]:
    pages = [await ask(each, ("KEYS", "*")) for each in (await nodes(redis)).values()]
    return sorted(key for (page,) in pages if isinstance(page, list) for key in page)


async def test_every_kind_of_name_is_forgotten_and_what_fails_is_a_dead_letter(
    redis: Client, place: Place, tmp_path: Path
) -> None:
    for n in ORDERS:
        names = (f"order:single:o{n}", f"o{n}:order", f"list:o{n}:1", f"m:{n}", f"zm:{n}")
        await ask(redis, *(("SET", name, "cached") for name in names))
        await ask(redis, ("SADD", f"tag:order:o{n}", f"m:{n}", f"order:single:o{n}"))
        await ask(redis, ("ZADD", f"z:order:o{n}", -1, f"zm:{n}"))
        await ask(redis, ("SET", f"invalidator:stamp:order:o{n}", "s"), ("SET", f"keep:{n}", "x"))
    async with piping(rules_from(RULES, tmp_path), place.url, timeout=2.0) as bench:
        bench.source.publish(*(event(orderId=f"o{n}") for n in ORDERS), b"no event")
        await until(lambda: bench.source.settled == len(ORDERS) + 1)
        assert not bench.health.part("redis").reason
    kept = [b"keep:%d" % n for n in ORDERS]
    assert await left(redis) == sorted([*kept, b"cache:version:orders", b"invalidator:dead"])
    assert await ask(redis, ("XLEN", "invalidator:dead")) == [1]


async def events_in(source: Source) -> list[object]:
    """The data of those that one read gives."""
    batch = await source.read(9)
    raw = [value for part in batch.slices for value in part.values] if batch else []
    return [orjson.loads(value or b"")["data"] for value in raw]


async def next_event(source: Source) -> object:
    (data,) = await until(lambda: events_in(source))
    return data


async def test_what_is_published_is_heard(
    redis: Client, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", place.url)
    own = client(place.url, 2.0)
    source = PubSubSource(own, ["events"], part=Part("pubsub"), buffer=9, max_wait=0)
    words = ["publish", "order.updated", '{"id": 1}']
    try:
        await source.open()
        for _ in range(5):  # on a cluster, it is another node each time
            assert await asyncio.to_thread(main, words) == 0
            assert await next_event(source) == {"id": 1}
    finally:
        await source.close()
    said = capsys.readouterr()
    assert "1 subscriber\n" in said.out
    assert "nobody listens" not in said.err
    assert await asyncio.to_thread(main, words) == 1
    assert "nobody listens on events" in capsys.readouterr().err


async def test_streams_are_read_wherever_they_lie(
    redis: Client, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", place.url)
    keys = ["orders", "users", "items", "carts"]
    source = StreamSource(
        client(place.url, 2.0),
        keys,
        group="invalidator",
        consumer="one",
        start=Start.of(-3600.0),
        timeout=2.0,
        max_wait=0,
    )
    dry = DryStreamSource(client(place.url, 2.0), keys, start=Start.of(-3600.0))
    try:
        await source.open()
        for n, key in enumerate(keys):
            words = ["publish", "order.updated", f'{{"id": {n}}}', "--stream", key]
            assert await asyncio.to_thread(main, words) == 0
            assert await next_event(source) == {"id": n}
        assert "stream carts: 1 group" in capsys.readouterr().out
        await dry.open()
        seen: list[object] = []
        while len(seen) < len(keys):
            seen += await until(lambda: events_in(dry))
        assert seen == [{"id": n} for n in range(len(keys))]
    finally:
        await source.close()
        await dry.close()


async def test_the_daemon_runs_there(
    redis: Client, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", place.url)
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    settings = {"RULES": str(rules), "REDIS_URL": place.url, "PUBSUB__CHANNELS": "events"}
    with closing(DaemonProcess(settings)) as daemon:
        await asyncio.to_thread(daemon.await_ready)
        words = ["publish", "order.updated", '{"orderId": "o1"}', "--set", "o1:order=x"]
        assert await asyncio.to_thread(main, words) == 0
        await until(lambda: gone(redis, "o1:order"))
        assert await asyncio.to_thread(daemon.stop) == 0


async def test_a_person_is_told_how_much_there_is_and_it_goes(
    redis: Client,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", place.url)
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    await ask(redis, *(("SET", f"{n}:m", "x") for n in range(30)))
    await ask(redis, *(("SET", f"list:{n}", "x") for n in range(40)), ("SET", "a", "x"))
    await ask(redis, ("SADD", "tag:t", *(f"{n}:m" for n in range(20))))
    await ask(redis, *(("ZADD", "z:t", 1, f"{n}:m") for n in range(20, 30)))
    await ask(redis, ("SET", "invalidator:stamp:t", "s"), ("SET", "cache:version:v", 7))
    words = ["purge", "--rules", str(rules), "--key", "a", "--key", "absent", "--tag", "t"]
    words += ["--pattern", "list:*", "--version", "v"]
    assert await asyncio.to_thread(main, [*words, "--dry-run"]) == 0
    counted = capsys.readouterr().out.splitlines()
    assert [re.sub(" +", " ", line) for line in counted[1:]] == [
        " key a (exists)",
        " key absent (does not exist)",
        " tag t (20 in its set)",
        " tag t (10 in its sorted-set)",
        " tag t (a stamp)",
        " version v (now 7)",
        " pattern list:* (40 of 75 keys)",
        "about 72 keys to delete",
    ]
    assert await asyncio.to_thread(main, [*words, "--why", "test", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *counted,
        "purged: 72 keys deleted, 1 version raised",
    ]
    assert await left(redis) == [b"cache:version:v", b"invalidator:purges"]


async def test_names_that_never_hit_are_told_of(
    redis: Client, place: Place, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with piping(rules_from(HITS, tmp_path), place.url, timeout=2.0, hits=eager) as bench:
            for n in range(12):
                await ask(redis, ("SET", f"order:{n}", "x"), ("SET", f"list:{n}:a", "x"))
                await ask(redis, ("SADD", f"tag:o{n}", "m"))
                bench.source.publish(event("changed", id=n))
                await until(lambda: bench.source.settled == n + 1)  # noqa: B023
    told = [(entry["rule"], entry["kind"]) for entry in logs if entry["event"] == "never-hit"]
    assert sorted(told) == [("wrong", "keys"), ("wrong", "patterns"), ("wrong", "tags")]


async def gone(redis: Client, key: str) -> bool:
    return await ask(redis, ("EXISTS", key)) == [0]


async def test_an_announcer_knows_whether_anybody_listens(redis: Client, place: Place) -> None:
    announcer = Announcer(redis, "cache")
    beating = asyncio.create_task(announcer.run())
    listener = await node(redis)
    try:
        assert not announcer.has_listeners
        async with listener.pubsub() as heard:
            await heard.subscribe("invalidator:applied")
            await until(lambda: announcer.has_listeners)
            await heard.unsubscribe("invalidator:applied")
            await until(lambda: not announcer.has_listeners)
    finally:
        beating.cancel()
        await asyncio.wait([beating])


async def test_each_server_has_an_identity(redis: Client, place: Place) -> None:
    servers = Servers(redis, "the cache")
    found = await servers.identify()
    assert len(found) == place.servers
    assert all(len(each.process) == len(each.history) == 40 for each in found.values())
    assert await servers.identify() == found


async def test_explain_counts_what_is_there(
    redis: Client,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", place.url)
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    await ask(redis, *(("SET", f"list:o1:{n}", "x") for n in range(20)), ("SET", "o1:order", "x"))
    told = '{"type": "order.updated", "orderId": "o1"}'
    words = ["explain", told, "--rules", str(rules), "--live"]
    assert await asyncio.to_thread(main, words) == 0
    said = capsys.readouterr().out
    assert "list:o1:*  by list:{orderId}:*  (20 of 21 keys)" in said
    assert "o1:order  by {orderId}:order  (exists)" in said


async def test_an_audit_looks_at_every_key(redis: Client, place: Place, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    for n in ORDERS:
        await ask(redis, ("SET", f"order:single:o{n}", "x"), ("SET", f"cart:o{n}", "x", "EX", 60))
    await ask(redis, ("SADD", "tag:order:o1", "order:single:o1"), ("EXPIRE", "tag:order:o1", 60))
    ruleset = load(path)
    expected = Expected.of(ruleset, ruleset.caches)
    found = report(await audited(redis, "it", expected, pace=Pace(share=1.0)), expected)
    assert found.looked == found.facts.keys == 2 * len(ORDERS) + 1
    counts = {(each.kind, each.what): each.count for each in found.findings}
    assert counts == {
        ("unreached", "cart:*"): len(ORDERS),
        ("no-ttl", "order:single:*"): len(ORDERS),
        ("tag-expires-first", "tag:order:*"): 1,
    }
