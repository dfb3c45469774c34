"""`invalidator purge` on a real Redis."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import PROGRAM, clean_environment
from tests.integration.piping import AllowKeys, run

if TYPE_CHECKING:
    import redis

RULES = """
caches:
  default:
    prefix: "shop:"
    protect: ["shop:orders:*:lock"]
  users: {}
rules:
  - {name: a, on: x, invalidate: {keys: ["k:{id}"]}}
"""
Purge = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def purge(redis_url: str, tmp_path: Path, allow_keys: AllowKeys) -> Purge:
    allow_keys("invalidator:purges")  # what daemons log
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)

    def purge(*words: str, answer: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
        environment = {"REDIS_URL": redis_url, "RULES": str(path)} | settings
        return subprocess.run(
            [PROGRAM, "purge", *words],
            env=clean_environment(environment),
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return purge


@pytest.fixture
def orders(redis_now: "redis.Redis") -> "redis.Redis":
    redis_now.mset({f"shop:orders:{n}": 1 for n in range(20)})
    redis_now.mset({"shop:orders:1:lock": 1, "other": 1, "m1": 1, "m2": 1})
    redis_now.sadd("tag:t", "m1", "m2")
    return redis_now


EVERYTHING = (
    *("--key", "other", "--key", "absent", "--tag", "t"),
    *("--pattern", "shop:orders:*", "--version", "prices"),
)


def test_it_counts_asks_purges_logs_and_announces(orders: "redis.Redis", purge: Purge) -> None:
    with orders.pubsub() as listener:  # type: ignore[no-untyped-call]
        listener.subscribe("invalidator:applied")
        done = purge(*EVERYTHING, "--why", "wrong prices, OPS-12", answer="y\n")
        assert done.returncode == 0, done.stderr
        said = []
        while (message := listener.get_message(timeout=1)) is not None:
            if message["type"] == "message":
                said.append(json.loads(message["data"]))
    left = [b"cache:version:prices", b"invalidator:purges", b"shop:orders:1:lock"]
    assert sorted(orders.keys()) == left
    assert done.stdout.splitlines() == [
        "in the cache default:",
        "  key      absent         (does not exist)",
        "  key      other          (exists)",
        "  tag      t              (2 in its set)",
        "  version  prices         (no counter yet)",
        "  pattern  shop:orders:*  (20 of 25 keys; 1 protected)",
        "about 23 keys to delete",
        "purge? [y/N] purged: 23 keys deleted, 1 version raised",
    ]
    (line,) = [json.loads(x) for x in done.stderr.splitlines() if '"purged"' in x]
    assert (line["why"], line["deleted"]) == ("wrong prices, OPS-12", 23)
    assert "@" in line["who"]
    assert "shop:" not in done.stderr, "no name above debug"
    applied = {m["kind"]: m for m in said if m["type"] == "applied"}
    assert applied["patterns"]["names"] == ["shop:orders:*"]
    assert sorted(applied["keys"]["names"]) == ["absent", "other"]
    assert applied["tags"]["why"] == "wrong prices, OPS-12"
    assert applied["versions"]["who"] == line["who"]


def test_a_dry_run_only_counts(orders: "redis.Redis", purge: Purge) -> None:
    before = orders.dbsize()
    done = purge(*EVERYTHING, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "about 23 keys to delete" in done.stdout
    done = purge(*EVERYTHING, "--why", "x", "--yes", DRY_RUN="true")
    assert done.returncode == 0
    assert "not purged: INVALIDATOR_DRY_RUN is set" in done.stdout
    assert orders.dbsize() == before


@pytest.mark.parametrize("answer", ["", "n\n", "\n"])
def test_without_a_yes_nothing_is_purged(orders: "redis.Redis", purge: Purge, answer: str) -> None:
    before = orders.dbsize()
    done = purge("--key", "other", "--why", "x", answer=answer)
    assert (done.returncode, orders.dbsize()) == (4, before)
    assert done.stdout.rstrip().endswith("not purged")


def test_what_cannot_be_purged_is_reported(orders: "redis.Redis", purge: Purge) -> None:
    orders.set("tag:broken", "a string")
    done = purge("--tag", "broken", "--key", "other", "--why", "x", "--yes")
    assert done.returncode == 1
    assert "tags broken could not be purged" in done.stderr
    assert not orders.exists("other")


def test_a_redis_that_cannot_be_reached_is_reported(purge: Purge) -> None:
    done = purge("--key", "k", "--why", "x", "--yes", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_cache_is_purged_on_its_own_redis(redis_url: str, purge: Purge) -> None:
    done = purge(
        "--cache",
        "users",
        "--key",
        "u",
        "--why",
        "x",
        "--yes",
        REDIS_URL="redis://127.0.0.1:1/0",
        CACHES__USERS=redis_url,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "use --key, --tag, --pattern or --version"),
        (["--key", "k"], "--why is required"),
        (["--key", "k", "--why", " "], "--why is required"),
        (["--pattern", "*:x", "--why", "x"], "--allow-broad"),
        (["--pattern", "[ab]*", "--why", "x"], "--allow-broad"),
        (["--key", "invalidator:dead", "--why", "x"], "cannot be purged"),
        (["--key", "k", "--cache", "user", "--why", "x"], "they have default, users"),
    ],
)
def test_senseless_arguments_are_rejected(purge: Purge, words: list[str], said: str) -> None:
    done = purge(*words, "--yes")
    assert done.returncode == 2
    assert said in done.stderr


def test_a_broad_pattern_spares_what_is_protected(orders: "redis.Redis", purge: Purge) -> None:
    done = purge("--pattern", "*", "--allow-broad", "--why", "start anew", "--yes")
    assert done.returncode == 0, done.stderr
    left = {b"tag:t", b"shop:orders:1:lock", b"invalidator:purges"}
    assert set(orders.keys()) == left
    run(orders, "DEL", "tag:t")
