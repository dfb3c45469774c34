"""Twenty mistakes that people make, and what they are told."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator.cli import main

if TYPE_CHECKING:
    import redis

Output = pytest.CaptureFixture[str]
RULE = "rules: [{{name: orders, on: {on}, {more}invalidate: {{{names}}}}}]"


def rules(on: str = "order.*", more: str = "", names: str = 'keys: "o:{id}"') -> str:
    return RULE.format(on=on, more=more, names=names)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checked(text: str, capsys: Output) -> tuple[int, str]:
    """Return the exit code and what `check` prints first."""
    Path("rules.yaml").write_text(text)
    code = main(["check"])
    return code, capsys.readouterr().out.splitlines()[0].split(": ", 1)[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("o:{{ id }}:{x}", "{{ id }} is text with a brace around it; a field is written {id}"),
        ("o:{{.id}}:{x}", "{{.id}} is text with a brace around it; a field is written {id}"),
        ("o:{$.id}", "{$.id} reads a field called $; the path alone is enough: {id}"),
        ("o:$id", "$id is text; a field is written in braces: {id}"),
        ("o:${id}", "the $ is part of the name; a field is {id} alone"),
        ("o:%s", "%s is text; name the field, in braces: {id}"),
        ("o:%(order_id)s", "%(order_id)s is text; name the field, in braces: {order_id}"),
    ],
)
def test_1_to_7_fields_as_in_other_languages(name: str, said: str, capsys: Output) -> None:
    assert checked(rules(names=f"keys: '{name}'"), capsys) == (0, f"warning: {said}")


def test_8_a_template_with_braces_but_no_field_is_an_error(capsys: Output) -> None:
    said = "error: {{ id }} is text with a brace around it; a field is written {id}"
    assert checked(rules(names="keys: 'o:{{ id }}'"), capsys) == (1, said)
    code, _ = checked(rules(names="keys: 'o:{{orders}}:{id}'"), capsys)
    assert code == 0, "a hash tag of a cluster"


def test_9_the_prefix_of_tags_is_added_twice(capsys: Output) -> None:
    text = rules(names="tags: 'tag:customer:{id}'")
    said = "tag: is added automatically, since the cache has tag:{tag}: write customer:{id}"
    assert checked(text, capsys) == (0, f"warning: {said}")


def test_10_a_text_without_quotes_in_a_condition(capsys: Output) -> None:
    said = 'when: paid is a field of the event; a text is written in quotes: "paid"'
    assert checked(rules(more="when: status == paid, "), capsys) == (0, f"warning: {said}")
    Path("rules.yaml").write_text(rules(more="when: price != oldPrice, "))
    assert main(["check", "--strict"]) == 0


@pytest.mark.parametrize("on", [r"^order\..*$", r"order\.(updated|deleted)*"])
def test_11_a_regular_expression_as_a_type(on: str, capsys: Output) -> None:
    code, line = checked(rules(on=f"'{on}'"), capsys)
    assert code == 1
    assert line.startswith("error: types are no regular expressions: * is one segment, ** any")
    assert line.endswith("; write order.**") is on.startswith("^")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{items[*].id}", "each element of a list is written [], without *: {items[].id}"),
        ("{items.*.id}", "each element of a list is written []: {items[].id}"),
        ("{items.0.id}", "an element of a list is written in brackets: {items[0].id}"),
    ],
)
def test_12_and_13_elements_of_lists(path: str, said: str, capsys: Output) -> None:
    assert checked(rules(names=f"keys: 'o:{path}'"), capsys) == (1, f"error: {said}")


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            '{"type": "order.x", "data": {"orderId": 1, "total": 5}}',
            "the event has no order_id; it has orderId, total; did you mean {orderId}?",
        ),
        (
            '{"type": "order.x", "payload": {"order_id": 1}}',
            "the event has no order_id; it has type, payload; payload.order_id is there: write "
            "{payload.order_id}, or envelope: {data: payload}",
        ),
        (
            '{"type": "order.x", "order_id": 1, "data": {"total": 5}}',
            "the event has no order_id; it has total; root.order_id is there: write "
            "{root.order_id}",
        ),
    ],
)
def test_14_a_field_that_the_event_has_elsewhere(event: str, said: str, capsys: Output) -> None:
    Path("rules.yaml").write_text(rules(names="keys: 'o:{order_id}'"))
    assert main(["explain", event]) == 1
    assert f"    rejected: o:{{order_id}}: {said} (missing-field)\n" in capsys.readouterr().out


def test_the_id_of_an_event_is_not_the_field_that_is_missed(capsys: Output) -> None:
    Path("rules.yaml").write_text(rules())
    assert main(["explain", '{"type": "order.x", "id": "e1", "data": {"total": 5}}']) == 1
    assert "the event has no id; it has total (missing-field)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("on", "kind", "said"),
    [
        ("order.*", "order.status.changed", "order.** would match; orders has order.*"),
        ("order.updated", "Order_Updated", "orders has order.updated"),
        ("order.updated", "order.update", "orders has order.updated"),
    ],
)
def test_15_a_type_that_nearly_matches(on: str, kind: str, said: str, capsys: Output) -> None:
    Path("rules.yaml").write_text(rules(on=on))
    assert main(["explain", f'{{"type": "{kind}", "id": 1}}']) == 0
    assert capsys.readouterr().out.endswith(f"no rule is on {kind}: {said}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pubish"], "unknown verb: pubish; did you mean publish?"),
        (["dead", "lst"], "unknown what: lst; did you mean list?"),
        (["check", "--strikt"], "unknown argument: --strikt; did you mean --strict?"),
        (["tail", "--kind", "key"], "unknown --kind: key; did you mean keys?"),
        (["check", "--str"], "unknown argument: --str"),  # never abbreviated
    ],
)
def test_16_and_17_verbs_and_options(words: list[str], said: str, capsys: Output) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_18_a_server_that_is_not_there(capsys: Output) -> None:
    assert main(["publish", "t", "{}", "--redis-url", "redis://127.0.0.1:1/0"]) == 1
    said = "redis://127.0.0.1:1/0: connection refused: no server listens on 127.0.0.1:1"
    assert capsys.readouterr().err == f"invalidator: {said}\n"


def test_19_a_host_that_has_no_address(capsys: Output) -> None:
    assert main(["dead", "list", "--redis-url", "redis://no-such-host.invalid/0"]) == 1
    assert "no address is known for no-such-host.invalid: " in capsys.readouterr().err


def test_20_a_missing_rules_file(capsys: Output, redis_now: "redis.Redis") -> None:
    assert main(["run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "INVALIDATOR_RULES=rules.yaml: there is no such file" in said
    assert "begin with `invalidator init`" in said
