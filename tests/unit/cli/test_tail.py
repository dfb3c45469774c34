"""What `invalidator tail` prints of what it hears."""

import json
from pathlib import Path

import pytest

from invalidator.cli import main, tail
from invalidator.cli.common import clients
from invalidator.cli.listen import Gap, Lost, listen
from invalidator.cli.tail import Printer
from invalidator.model import Cause, Kind
from invalidator.redisclient import client
from invalidator.rules import load
from invalidator.settings import load as load_settings
from invalidator.targets.redis.messages import Message, Sender

ONE = Sender("9f0c", 5)
KAFKA = Cause("kafka", "4be1")
RULES = "rules:\n  - {name: order, on: o, invalidate: {keys: ['order:{id}']}}\n"


def applied(
    *names: str, cache: str = "default", kind: Kind = "keys", cause: Cause = KAFKA
) -> Message:
    return Message("applied", ONE, 7, 1_700_000_000_123, cache, kind, names, cause)


def printer(*words: str) -> Printer:
    import argparse

    parser = argparse.ArgumentParser()
    tail.add(parser.add_subparsers())
    args = parser.parse_args(["tail", *words])
    return Printer(tail._filter(args), as_json=args.json, count=args.count)


def test_a_name_is_a_line_and_a_person_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printer()
    shown.tell(applied("order:1", "order:\x1b[2J"))
    shown.tell(applied("t", kind="tags", cause=Cause("purge", "", "ann@laptop", "wrong prices")))
    lines = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "default  keys      order:1  kafka",
        "default  keys      order:\\x1b[2J  kafka",
        "default  tags      t  purge by ann@laptop: wrong prices",
    ]


def test_signs_of_life_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    printer().tell(Message("heartbeat", ONE, 7, 0))
    assert capsys.readouterr().out == ""


def test_gaps_and_lost_connections_are_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printer("--cache", "users")
    for heard in (
        Gap(ONE, "missed", 3),
        Gap(ONE, "new"),
        Gap(ONE, "silent"),
        Lost("redis://a", "refused"),
    ):
        shown.tell(heard)
    assert capsys.readouterr().out.splitlines() == [
        "-- missed 3 messages of instance 9f0c",
        "-- instance 9f0c is new; what it applied before was not received",
        "-- instance 9f0c is silent; its last messages may be missing",
        "-- redis://a is unavailable, retrying: refused",
    ]


def test_no_text_of_a_message_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--json"]):
        shown = printer(*words)
        shown.tell(applied("a\x1b[2J", cause=Cause("b\x9b", "", "c\x07", "d\x7f")))
        shown.tell(Gap(Sender("e\x1b", 1), "new"))
        shown.tell(Lost("f\x1b", "g\x1b"))
        out = capsys.readouterr().out
        assert all(line.isprintable() for line in out.splitlines())
        assert len(out.splitlines()) == 3


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printer("--json")
    shown.tell(applied("order:ä"))
    shown.tell(Gap(ONE, "missed", 3))
    shown.tell(Lost("redis://a", "refused"))
    message, gap, lost = map(json.loads, capsys.readouterr().out.splitlines())
    assert message == {
        "instance": "9f0c",
        "epoch": 5,
        "seq": 7,
        "time": 1_700_000_000_123,
        "cache": "default",
        "kind": "keys",
        "names": ["order:ä"],
        "source": "kafka",
        "rules": "4be1",
    }
    assert gap == {"gap": "missed", "missed": 3, "instance": "9f0c", "epoch": 5}
    assert lost == {"server": "redis://a", "reason": "refused"}


def test_caches_and_kinds_are_filtered_and_count_ends_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = printer("--cache", "a", "--cache", "b", "--kind", "tags", "--count", "1")
    assert not shown.tell(applied("x", cache="a"))
    assert not shown.tell(applied("x", cache="c", kind="tags"))
    assert shown.tell(applied("x", cache="b", kind="tags"))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_by_rule_only_what_it_could_have_named_is_shown_and_other_rules_are_told_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    shown = printer("--rule", "order", "--rules", str(path))
    shown.tell(applied("order:1", "user:1", cause=Cause("kafka", load(path).hash)))
    shown.tell(applied("order:2", cause=Cause("purge", "", "ann@laptop", "why")))
    assert capsys.readouterr().err == ""
    shown.tell(applied("order:3"))
    shown.tell(applied("order:4"))
    out, err = capsys.readouterr()
    assert err.count("a daemon uses the rules 4be1") == 1
    assert [line.split()[3] for line in out.splitlines()] == ["order:3", "order:4"]


def test_a_rule_that_is_not_there_is_told_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    assert main(["tail", "--rule", "orders", "--rules", str(path)]) == 2
    assert "no such rule: orders; there are order" in capsys.readouterr().err


def test_a_server_with_several_databases_is_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", "redis://a:1/0")
    monkeypatch.setenv("INVALIDATOR_CACHES__USERS", "redis://a:1/1")
    monkeypatch.setenv("INVALIDATOR_CACHES__TEAMS", "redis://b:1/0")
    assert list(clients(load_settings())) == ["redis://a:1/0", "redis://b:1/0"]


async def test_a_closed_pipe_ends_it_as_what_it_is() -> None:
    def tell(_: object) -> bool:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await listen({"nobody": client("redis://127.0.0.1:1", 0.5)}, tell)
