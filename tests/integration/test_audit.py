"""`invalidator audit` on a real Redis: what it finds, what it needs; and it changes nothing."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from invalidator.cache import Kind, SyncCache
from invalidator.cli import main
from tests.conftest import StartRedis
from tests.integration.piping import looking

RULES = """
caches:
  default:
    tags: [{layout: set}, {layout: sorted-set, key: "z:{tag}"}]
    protect: ["session:*"]
rules:
  - name: orders
    on: order.updated
    invalidate:
      keys: ["order:single:{id}"]
      patterns: ["orders:list:{id}:*"]
      tags: ["customer:{c}"]
      versions: [catalogue]
  - name: off
    on: x
    enabled: false
    invalidate: {keys: ["cart:{id}"]}
"""
CONTRACT = (Path(__file__).parents[2] / "docs" / "redis-contract.md").read_text()
GRANTS = re.findall(r"^ACL SETUSER auditor (.*)$", CONTRACT, re.MULTILINE)

Audit = Callable[..., tuple[int, dict[str, Any]]]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def now(start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    server = start_redis()
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", server.url)
    with looking(server.url) as client:
        yield client


@pytest.fixture
def audit(tmp_path: Path, now: redis.Redis, capsys: Output) -> Audit:
    """The exit code, and what it said of the server."""
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        code = main(["audit", "--rules", str(path), "--speed", "1", "--json", *words])
        said = capsys.readouterr().out
        return code, json.loads(said)["servers"][0] if said else {}

    return run


def counts(report: dict[str, Any], kind: str) -> dict[str, int]:
    return {each["what"]: each["count"] for each in report["findings"] if each["kind"] == kind}


def fill(now: redis.Redis) -> None:
    for n in range(50):
        now.set(f"order:single:{n}", "x", ex=3600)
        now.set(f"orders:list:{n}:1", "x", ex=3600)
        now.set(f"cart:{n}", "x")
        now.set(f"session:{n}", "x")
        now.set(f"tagged:{n}", "x", ex=900)
        now.sadd(f"tag:customer:{n % 5}", f"tagged:{n}")
        now.zadd(f"z:customer:{n}", {f"scored:{n}": -1})
        now.set(f"scored:{n}", "x", ex=60)
    now.sadd("tag:other", "lonely:1")  # no rule names this tag
    now.set("lonely:1", "x", ex=60)
    now.set("report:9", b"x" * (3 << 20), ex=60)
    now.set("cache:version:catalogue", 17)
    now.xadd("invalidator:dead", {"source": "kafka"})


def test_what_no_rule_reaches_what_never_expires_and_what_is_big(
    now: redis.Redis, audit: Audit
) -> None:
    fill(now)
    code, report = audit()
    assert (code, report["looked"]) == (0, now.dbsize())
    assert counts(report, "unreached") == {"cart:*": 50, "report:*": 1, "lonely:*": 1}
    assert counts(report, "no-ttl") == {"cart:*": 50}
    assert counts(report, "big") == {"report:*": 1}
    (big,) = [each for each in report["findings"] if each["kind"] == "big"]
    assert re.fullmatch(r"report:9, the largest has 3\.\d MiB", big["sample"])
    assert report["unseen"] == ["orders"]
    assert all(each["sample"] and each["advice"] for each in report["findings"])
    assert counts(report, "tag-expires-first") == counts(report, "eviction") == {}


def test_a_tag_that_expires_before_a_member_is_found_in_both_layouts(
    now: redis.Redis, audit: Audit
) -> None:
    now.set("long", "x", ex=900)
    now.set("lasting", "x")
    now.set("short", "x", ex=30)
    for tag, members in {"a1": ["short", "long"], "a2": ["lasting"], "fine1": ["short"]}.items():
        now.sadd(f"tag:{tag}", *members)
        now.expire(f"tag:{tag}", 60)
        now.zadd(f"z:{tag}", dict.fromkeys(members, 1.0))
        now.expire(f"z:{tag}", 60)
    now.sadd("tag:kept", "long")
    now.set("tag:none", "no set", ex=5)
    _, report = audit("--only", "tag-expires-first")
    assert counts(report, "tag-expires-first") == {"tag:*": 2, "z:*": 2}
    samples = [each["sample"] for each in report["findings"]]
    assert any(
        re.fullmatch(r"tag:a1 lives \d+ s, its member long \d+ s", each)
        or re.fullmatch(r"tag:a2 lives \d+ s, its member lasting for ever", each)
        for each in samples
    )


def test_entries_of_an_old_schema_are_counted(now: redis.Redis, audit: Audit) -> None:
    cache = SyncCache(now, prefix="order:single:")
    for number, schema in enumerate([1, 1, 2, 3, 3]):
        cache.get_or_load(str(number), lambda _: 1, kind=Kind(schema=schema))
    cache.get_or_load("other:x", lambda _: 1, kind=Kind(schema=1))
    now.sadd("order:single:9", "a set")
    now.set("order:single:8", "!i1 foreign")
    _, report = audit("--only", "old-schema")
    assert counts(report, "old-schema") == {"order:single:*": 3}
    (found,) = report["findings"]
    assert re.fullmatch(r"order:single:[01], schema 1 of 3", found["sample"])


@pytest.mark.parametrize(
    ("policy", "limit", "said"),
    [
        ("allkeys-lru", "100mb", "allkeys-lru may evict versions, tag sets, dead letters"),
        ("volatile-lru", "100mb", ""),
        ("noeviction", "100mb", ""),
        ("allkeys-lru", "0", ""),
    ],
)
def test_a_policy_that_evicts_what_must_stay_is_named(
    policy: str, limit: str, said: str, now: redis.Redis, audit: Audit
) -> None:
    now.config_set("maxmemory-policy", policy)
    now.config_set("maxmemory", limit)
    _, report = audit()
    found = [each["what"] for each in report["findings"] if each["kind"] == "eviction"]
    assert len(found) == bool(said)
    assert all(each.startswith(said) for each in found)
    assert report["facts"]["policies"] == [policy]


def test_the_hit_rate_is_redis_own(now: redis.Redis, audit: Audit) -> None:
    now.set("a", 1)
    now.config_resetstat()
    for key in ("a", "a", "a", "b"):
        now.get(key)
    assert audit()[1]["facts"]["hit_rate"] == 0.75


def test_strict_fails_on_what_was_found_and_only_on_that(now: redis.Redis, audit: Audit) -> None:
    assert audit("--strict")[0] == 0
    now.set("cart:1", "x", ex=60)
    assert audit("--strict")[0] == 1
    assert audit("--strict", "--only", "big")[0] == 0


def dumped(now: redis.Redis) -> dict[bytes, bytes | None]:
    return {key: now.dump(key) for key in now.scan_iter()}


def test_it_needs_exactly_what_the_contract_grants_and_changes_nothing(
    now: redis.Redis,
    audit: Audit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    fill(now)
    now.expire("tag:customer:1", 5000)
    before = dumped(now)
    words = [word for line in GRANTS for word in line.split()]
    port = now.connection_pool.connection_kwargs["port"]
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", f"redis://auditor:change-me@127.0.0.1:{port}/0")
    admin: Any = now
    admin.execute_command("ACL", "SETUSER", "auditor", *words)
    assert audit()[0] == 0
    assert dumped(now) == before
    for lacking in [word for word in words if word[0] == "+" and "client" not in word]:
        admin.execute_command("ACL", "SETUSER", "auditor", *words, lacking.replace("+", "-"))
        assert main(["audit", "--rules", str(tmp_path / "rules.yaml"), "--speed", "1"]) == 1, (
            lacking
        )
        assert lacking[1:].partition("|")[0] in capsys.readouterr().err.lower()


def test_keys_that_it_may_not_ask_about_are_counted(
    now: redis.Redis, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(now)
    words = " ".join(GRANTS).replace("%R~*", "%R~order:*").split()
    admin: Any = now
    admin.execute_command("ACL", "SETUSER", "auditor", *words)
    port = now.connection_pool.connection_kwargs["port"]
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", f"redis://auditor:change-me@127.0.0.1:{port}/0")
    _, report = audit()
    assert report["unread"] == now.dbsize() - 50


def test_for_people_it_says_what_was_found_and_what_to_do(
    now: redis.Redis, audit: Audit, tmp_path: Path, capsys: Output
) -> None:
    fill(now)
    for n in range(15):
        now.set(f"family-{chr(97 + n) * 3}:\x1b[31m", "x", ex=9)
    assert main(["audit", "--rules", str(tmp_path / "rules.yaml"), "--speed", "1"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"about \d+ keys examined in [\d.]+ s; \d+ are not cache entries", said)
    assert re.search(r"no-ttl  keys that never expire: 50 in 1 family", said)
    assert "and 8 families more: --all shows them" in said
    assert "> No event can invalidate these. Write a rule for them" in said
    assert "\x1b" not in said


def test_each_server_is_audited_for_the_caches_that_live_there(
    now: redis.Redis,
    start_redis: StartRedis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "caches: {default: {}, users: {prefix: 'u:'}}\n"
        "rules:\n"
        "  - {name: a, on: a, invalidate: {keys: ['order:{id}']}}\n"
        "  - {name: b, on: b, cache: users, invalidate: {keys: ['{id}']}}\n"
    )
    other = start_redis()
    monkeypatch.setenv("INVALIDATOR_CACHES__USERS", other.url)
    with looking(other.url) as there:
        for client in (now, there):
            client.set("order:1", "x", ex=9)
            client.set("u:1", "x", ex=9)
    assert main(["audit", "--rules", str(path), "--json"]) == 0
    here, users = json.loads(capsys.readouterr().out)["servers"]
    assert counts(here, "unreached") == {"u:*": 1}
    assert counts(users, "unreached") == {"order:*": 1}
