"""`invalidator dead`: what could not be applied, worked with by a person."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from invalidator.cli import main
from invalidator.deadletters import DeadLetters, Redactor
from invalidator.model import Fault, Record, Rejection
from invalidator.redisclient import client
from tests.backends.redis_cluster import RedisCluster
from tests.integration.piping import AllowKeys, event, looking, order

if TYPE_CHECKING:
    import redis

    from tests.conftest import StartRedis, StartSentinel

RULES = """\
rules:
  - name: order-changed
    # so that the list is right
    on: order.updated
    invalidate: {keys: ["order:single:{orderId}"]}

  - {name: audit, on: order.audited, invalidate: {keys: ["audit:{id}"]}}
"""
MISSING = Fault("missing-field", "no orderId", "order-changed", "order:single:{orderId}")
UNREADABLE = Fault("not-json", "no JSON")
HOSTILE = "\x1b[31mred\x07\x7f\r\n\x9b\u202e\ud800".encode(errors="surrogatepass") + b"\xff"


class Desk:
    """Where somebody works with dead letters."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    def bury(self, *rejections: Rejection, paths: Sequence[str] = ()) -> list[str]:
        """As the daemon does; the ids of the entries."""
        with capture_logs():  # what the daemon says of it is no output of the verb
            asyncio.run(self._put(rejections, paths))
        return [entry["entry"] for entry in self.listed()][: len(rejections)][::-1]

    async def _put(self, rejections: Sequence[Rejection], paths: Sequence[str]) -> None:
        redis = client(self.url, 2.0)
        letters = DeadLetters(redis, "the state", redactor=Redactor(paths))
        await letters.put(rejections, "5a66c5c7f2ab")
        await letters.probe()
        await letters.aclose()

    def run(self, *words: str, code: int = 0) -> str:
        self._capsys.readouterr()  # the daemon's log of what it buried
        found = main(["dead", *words])
        said = self._capsys.readouterr()
        assert found == code, said
        return said.out + said.err

    def listed(self, *words: str) -> list[dict[str, Any]]:
        lines = self.run("list", "--json", "--limit", "9999", *words).splitlines()
        return [json.loads(line) for line in lines]


def rejected(
    raw: bytes | None, *faults: Fault, kind: str | None = None, origin: str = "orders", **more: Any
) -> Rejection:
    record = Record("kafka", origin, "3@1042", raw, **more)
    return Rejection(record, kind, faults or (MISSING,))


@pytest.fixture
def rules_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    monkeypatch.setenv("INVALIDATOR_RULES", str(path))
    return path


OpenDesk = Callable[[str], Desk]


@pytest.fixture
def open_desk(
    rules_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> OpenDesk:
    def open_desk(url: str) -> Desk:
        monkeypatch.setenv("INVALIDATOR_REDIS_URL", url)
        return Desk(url, capsys)

    return open_desk


@pytest.fixture
def desk(open_desk: OpenDesk, redis_url: str, allow_keys: AllowKeys) -> Desk:
    allow_keys("invalidator:dead")
    return open_desk(redis_url)


# --- looking ---


def test_the_newest_come_first_and_can_be_chosen(desk: Desk) -> None:
    desk.bury(
        rejected(b"{}", kind="order.updated"),
        rejected(b"nonsense", UNREADABLE, origin="users"),
        rejected(b"{}", MISSING, Fault("noperm", "no", "audit"), kind="order.audited"),
    )
    lines = desk.run("list").splitlines()
    assert lines[0].split() == ["ID", "AGE", "ERROR", "TYPE", "RULE", "FROM", "TRIES", "WHY"]
    assert ["audit, order-changed" in line for line in lines[1:]] == [True, False, False]
    assert "kafka orders 3@1042" in lines[1]
    assert len(desk.run("list", "--limit", "2").splitlines()) == 4, "and there are more"
    for words, count in (
        (["--type", "order.updated"], 1),
        (["--rule", "order-changed"], 2),
        (["--error", "noperm"], 1),
        (["--source", "users"], 1),
        (["--source", "kafka"], 3),
        (["--source", "kafka", "--rule", "audit"], 1),
        (["--since", "1h"], 3),
        (["--since", "2999-01-01"], 0),
    ):
        assert len(desk.listed(*words)) == count, words
    assert desk.run("list", "--rule", "nobody").startswith("none, in redis://")


def test_pages_are_read_to_their_end_either_way(desk: Desk) -> None:
    desk.bury(*[rejected(b"%d" % n) for n in range(250)])
    assert [int(entry["raw"]) for entry in desk.listed()] == [*range(250)][::-1]
    stats = json.loads(desk.run("stats", "--json"))
    assert (stats["entries"], stats["errors"]) == (250, {"missing-field": 250})


def test_show_prints_the_entry_where_its_rule_is_and_what_the_current_rules_say(desk: Desk) -> None:
    (entry,) = desk.bury(
        rejected(
            b'{"type": "order.updated", "id": "e1", "data": {"x": 1}}',
            kind="order.updated",
            key=b"k1",
            headers=(("trace", b"a1"),),
            time_ms=1_795_000_000_000,
        )
    )
    said = desk.run("show", entry)
    for wanted in (
        f"entry      {entry}",
        "type       order.updated",
        "id         e1",
        "from       kafka orders 3@1042",
        "published  20",
        "by         rules 5a66c5c7f2ab",
        "key        k1",
        "header     trace: a1",
        "  order-changed: missing-field\n    order:single:{orderId}\n    no orderId\n",
        '  "x": 1',
        "rule order-changed: ",
        "rules.yaml:2\n",
        "rejected: order:single:{orderId}:",
    ):
        assert wanted in said
    assert "audit" not in said
    assert json.loads(desk.run("show", entry, "--json"))["raw"].startswith("{")
    assert desk.run("show").startswith(f"entry      {entry}\n"), "the newest"
    assert "no dead letter in redis://" in desk.run("show", "1-1", code=1)
    assert "expected an id" in desk.run("show", "latest", code=2)


def test_what_an_event_holds_never_steers_the_terminal(desk: Desk) -> None:
    text = HOSTILE.decode(errors="replace")
    (entry, _) = desk.bury(
        rejected(
            HOSTILE,
            Fault(text, text, text, text),
            kind=text,
            origin=text,
            key=HOSTILE,
            headers=((text, HOSTILE),),
        ),
        rejected(json.dumps({"type": "t", "id": text, "a": text}).encode()),
    )
    for words in (["list"], ["show", entry], ["stats"], ["replay", "--all"], ["list", "--json"]):
        code = int(words[0] == "replay")
        said = desk.run(*words, code=code)
        assert all(char == "\n" or char.isprintable() for char in said), words


def test_a_rule_that_is_gone_and_rules_that_are_broken_are_told(
    desk: Desk, rules_file: Path
) -> None:
    (entry,) = desk.bury(rejected(event("order.updated")))
    rules_file.write_text(RULES.replace("order-changed", "another"))
    assert "no longer in the rules: order-changed" in desk.run("show", entry)
    rules_file.write_text("nonsense: [")
    assert "the current rules cannot be used" in desk.run("show", entry)


def test_stats_say_how_many_and_why(desk: Desk) -> None:
    assert desk.run("stats").startswith("none, in redis://")
    desk.bury(rejected(b"{}", kind="t"), rejected(b"x", UNREADABLE), rejected(None, UNREADABLE))
    said = desk.run("stats")
    assert said.startswith("3 dead letters of at most 100,000, 3 bytes of events, in redis://")
    assert "by error\n          2  not-json\n          1  missing-field" in said
    assert "1 cannot be replayed" in said


# --- replaying ---


def test_what_is_applied_goes_and_what_is_rejected_again_stays_and_counts(
    desk: Desk, redis_now: "redis.Redis"
) -> None:
    good, bad = desk.bury(rejected(order(1)), rejected(event("order.updated", no="id")))
    redis_now.set("order:single:o1", "stale")
    said = desk.run("replay", "--all", code=1)
    assert "1 dead letter applied and removed; 1 rejected again and stored again" in said
    assert not redis_now.exists("order:single:o1")
    (left,) = desk.listed()
    assert (left["attempts"], left["raw"]) == (2, event("order.updated", no="id").decode())
    assert left["failed_at"] > left["first_seen"]
    assert left["faults"][0]["message"] != MISSING.message, "what the current rules say"
    assert "no such entry" in desk.run("replay", bad, code=1), "it was stored again"
    desk.run("replay", left["entry"], code=1)
    (again,) = desk.listed()
    assert (again["attempts"], again["first_seen"]) == (3, left["first_seen"])
    assert "3 times since" in desk.run("show")
    assert "1 were replayed" in desk.run("stats")
    assert good not in str(desk.listed())


def test_mended_rules_apply_what_the_old_ones_rejected(
    desk: Desk, rules_file: Path, redis_now: "redis.Redis"
) -> None:
    desk.bury(*[rejected(event("order.updated", id=f"o{n}")) for n in range(1200)])
    desk.run("replay", "--all", "--rate", "100000", code=1)
    redis_now.mset({f"order:single:o{n}": "stale" for n in range(1200)})
    rules_file.write_text(RULES.replace("{orderId}", "{id}"))
    said = desk.run("replay", "--rule", "order-changed", "--rate", "100000")
    assert "1,200 dead letters applied and removed" in said
    assert desk.listed() == []


def test_only_those_that_are_meant_are_replayed(desk: Desk) -> None:
    one, two, _ = desk.bury(rejected(order(1)), rejected(order(2)), rejected(order(3)))
    desk.run("replay", one, two)
    assert [entry["raw"] for entry in desk.listed()] == [order(3).decode()]
    said = desk.run("replay", one, code=1)
    assert f"not replayed: {one}: there is no such entry" in said
    for words in ([], ["--all", one], ["--all", "--rule", "r"]):
        assert "only one of these" in desk.run("replay", *words, code=2)


def test_without_an_event_there_is_nothing_to_replay(desk: Desk) -> None:
    (entry,) = desk.bury(rejected(None))
    assert f"not replayed: {entry}: it holds no event" in desk.run("replay", "--all")
    assert len(desk.listed()) == 1


def test_masked_values_are_replayed_only_where_somebody_says_so(
    desk: Desk, redis_now: "redis.Redis"
) -> None:
    (entry,) = desk.bury(rejected(event("order.updated", orderId="o1", pin=7)), paths=["data.pin"])
    assert "7" not in desk.listed()[0]["raw"]
    assert "masked in it: data.pin" in desk.run("replay", entry)
    redis_now.set("order:single:o1", "stale")
    assert "1 dead letter applied" in desk.run("replay", entry, "--masked")
    assert not redis_now.exists("order:single:o1")


def test_a_dry_run_replays_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.bury(rejected(order(1)))
    monkeypatch.setenv("INVALIDATOR_DRY_RUN", "true")
    assert "INVALIDATOR_DRY_RUN" in desk.run("replay", "--all", code=2)
    assert len(desk.listed()) == 1


def test_a_key_that_a_sweep_cannot_delete_becomes_a_letter_of_its_own(
    start_redis: "StartRedis", open_desk: OpenDesk, rules_file: Path
) -> None:
    server = start_redis(
        config={"user": "default on nopass +@all ~invalidator:* %R~list:* ~list:ok"}
    )
    desk = open_desk(server.url)
    rules_file.write_text("rules: [{name: r, on: t, invalidate: {patterns: ['list:*']}}]")
    with looking(server.url) as now:
        now.acl_setuser("admin", enabled=True, nopass=True, categories=["+@all"], keys=["*"])
    with looking(server.url.replace("redis://", "redis://admin:x@")) as admin:
        admin.mset({"list:ok": 1, "list:kept": 1})
        desk.bury(rejected(event("t")))
        desk.run("replay", "--all")
        assert admin.exists("list:ok", "list:kept") == 1
    (left,) = desk.listed()
    assert (left["raw"], left["faults"][0]["error"]) == (None, "noperm")


# --- dropping ---


def test_dropping_asks_and_deletes_only_what_is_meant(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bury(rejected(b"x", UNREADABLE), rejected(b"y", UNREADABLE), rejected(order(1)))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    said = desk.run("drop", "--error", "not-json", code=4)
    assert "2 not-json" in said
    assert "not dropped" in said
    assert len(desk.listed()) == 3
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    assert "2 dead letters dropped" in desk.run("drop", "--error", "not-json")
    (left,) = desk.listed()
    assert "1 dead letter dropped" in desk.run("drop", left["entry"], "--yes")
    assert "nothing to drop" in desk.run("drop", "--all", "--yes")
    assert "no such entry" in desk.run("drop", left["entry"], "--yes", code=1)


# --- wherever they are ---


def _works(desk: Desk) -> None:
    good, _ = desk.bury(rejected(order(1)), rejected(event("order.updated")))
    desk.run("show", good)
    desk.run("replay", "--all", code=1)
    (left,) = desk.listed()
    assert left["attempts"] == 2
    assert "1 dead letter" in desk.run("stats")
    assert "1 dead letter dropped" in desk.run("drop", "--all", "--yes")


def test_on_a_cluster(cluster: RedisCluster, open_desk: OpenDesk) -> None:
    _works(open_desk(cluster.url))


def test_behind_sentinels(start_sentinel: "StartSentinel", open_desk: OpenDesk) -> None:
    _works(open_desk(start_sentinel().url))


def test_a_redis_that_is_away_is_told(open_desk: OpenDesk) -> None:
    desk = open_desk("redis://127.0.0.1:1/0")
    assert "redis://127.0.0.1:1/0: " in desk.run("list", code=1)
