"""`invalidator publish` and `init`, with a daemon."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import RunDaemon
from tests.e2e.process import run_program
from tests.integration.piping import AllowKeys

if TYPE_CHECKING:
    import redis

RULES = """\
rules:
  - name: orders
    on: order.updated
    invalidate:
      {keys: "o:{id}", patterns: "list:{id}:*", tags: "order:{id}", versions: "orders"}
"""


def test_publish_waits_for_all_that_the_rules_name(
    run_daemon: RunDaemon,
    rules_file: Path,
    redis_url: str,
    redis_now: "redis.Redis",
    allow_keys: AllowKeys,
) -> None:
    allow_keys("cache:version:orders")
    rules_file.write_text(RULES)
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="events").await_ready()
    redis_now.mset({"o:1": "x", "list:1:a": "x"})
    code, said = run_program(
        *("publish", "order.updated", '{"id": 1}', "--wait", "--rules", str(rules_file)),
        REDIS_URL=redis_url,
    )
    assert code == 0, said
    effects = {re.sub(r"\d+ ms", "N ms", line) for line in said.splitlines()[2:]}
    assert effects == {
        "o:1 was invalidated after N ms by rule orders",
        "pattern list:1:* was swept after N ms by rule orders",
        "tag order:1 was invalidated after N ms by rule orders",
        "version orders was raised after N ms by rule orders",
    }
    assert redis_now.keys("*:1*") == []
    assert daemon.stop() == 0


def test_what_init_writes_is_sound_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run_program("init", "shop")
    assert (code, said.splitlines()[0].split()[:2]) == (0, ["wrote", "shop/rules.yaml"])
    for words in (["check", "--strict"], ["test", "--covered"]):
        assert run_program(*words, "shop/rules.yaml")[0] == 0
    assert run_program("settings", "--env-file", "shop/invalidator.env")[0] == 0
    (tmp_path / "shop" / "invalidator.env").unlink()
    before = (tmp_path / "shop" / "rules.yaml").read_text()
    assert run_program("init", "shop") == (
        2,
        "invalidator: shop/rules.yaml exists already, so nothing was written\n",
    )
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["rules.yaml"]
    assert (tmp_path / "shop" / "rules.yaml").read_text() == before
