"""What `invalidator replay` takes for a wish, and what it refuses."""

import argparse

import pytest

from invalidator.cli import main, replay
from invalidator.sources.replay import Times

OFFSET = ["--topic", "orders", "--partition", "0", "--offset", "5"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "expected one of --since"),
        (["--since", "10m", "--from", "2026-11-27"], "--since and --from cannot be combined"),
        (["--since", "10m", *OFFSET], "expected one of --since"),
        (["--since", "ten"], "--since ten: expected a duration"),
        (["--from", "yesterday"], "--from yesterday: expected a time such as"),
        (["--from", "2999-01-01"], "begin in the future"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "end before it begins"),
        (["--to", "2026-01-01", *OFFSET], "--to needs"),
        (["--topic", "orders", "--offset", "5"], "--offset needs --topic and --partition"),
        (["--since", "1h", "--partition", "5"], "--partition needs --offset"),
        (["--since", "1h", "--until-offset", "5"], "--until-offset needs --offset"),
        (["--id", "1-0"], "--id needs --stream"),
        (["--id", "one", "--stream", "orders"], "--id one: expected an id such as"),
        (["--since", "1h", "--topic", "a", "--stream", "b"], "--topic and --stream cannot"),
        (["--since", "1h"], "no source keeps past events"),
        (OFFSET, "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS is not set"),
        ([*OFFSET, "--rate", "-1"], "expected a whole number"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_read(
    words: list[str],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: "pytest.TempPathFactory",
) -> None:
    rules = f"{tmp_path}/rules.yaml"
    with open(rules, "w") as file:
        file.write("rules: [{name: a, on: b, invalidate: {keys: [c]}}]")
    monkeypatch.setenv("INVALIDATOR_PUBSUB__CHANNELS", "orders")
    assert main(["replay", *words, "--rules", rules]) == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--since", "99999d"], ["--from", "0001-01-01"]])
def test_before_1970_there_is_nothing_to_begin_with(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    replay.add(parser.add_subparsers())
    assert replay._wanted(parser.parse_args(["replay", *words])) == Times(0, None)
