"""`explain --live` counts what is there and changes nothing."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator.cli import main

if TYPE_CHECKING:
    import redis

RULES = """
caches: {default: {tags: [{layout: set}, {layout: stamp}]}}
rules:
  - name: r
    on: t
    invalidate:
      keys: ["k:{id}", "gone:{id}"]
      patterns: "l:{id}:*"
      tags: ["g:{id}", "bad:{id}"]
      versions: v
"""


async def test_it_counts_keys_members_and_matches(
    redis_url: str,
    redis_now: "redis.Redis",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    redis_now.mset({"k:1": 1, "l:1:a": 1, "l:1:b": 1, "cache:version:v": 7})
    redis_now.sadd("tag:g:1", "k:1")
    redis_now.set("tag:bad:1", "a string")
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", redis_url)
    words = ["explain", '{"type": "t", "id": 1}', "--rules", str(path), "--live"]
    assert await asyncio.to_thread(main, words) == 0
    out = capsys.readouterr().out
    for said in (
        "k:1  by k:{id}  (exists)",
        "gone:1  by gone:{id}  (does not exist)",
        "l:1:*  by l:{id}:*  (2 of 6 keys)",
        "g:1  by g:{id}  (1 in its set, no stamp)",
        "bad:1  by bad:{id}  (cannot be counted: WRONGTYPE",
        "v  by v  (now 7)",
    ):
        assert said in out
    assert redis_now.dbsize() == 6
    redis_now.flushdb()


async def test_a_cache_with_a_redis_of_its_own_is_looked_at_there(
    redis_url: str,
    redis_now: "redis.Redis",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "caches: {users: {}}\n"
        "rules: [{name: r, on: t, cache: users, invalidate: {keys: 'u:{id}'}}]\n"
    )
    redis_now.set("u:1", 1)
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("INVALIDATOR_CACHES__USERS", redis_url)
    words = ["explain", '{"type": "t", "id": 1}', "--rules", str(path), "--live"]
    assert await asyncio.to_thread(main, words) == 0
    assert "u:1  by u:{id}  in users  (exists)" in capsys.readouterr().out
