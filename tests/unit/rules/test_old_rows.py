"""Old rows of change events: what was really sent of them, and what Debezium filled in."""

import json
from typing import Any

import pytest

from tests.unit.rules.conftest import faults, names, plan, slow_path

RULES = """
rules:
  - {name: user, on: users.*, invalidate: {keys: "user:{id}"}}
  - {name: team, on: users.*, invalidate: {keys: "team:{team_id}"}}
"""
KEY = b'{"id":1}'
# PostgreSQL 15 with the default replica identity, Debezium 3.3, of the row (1, 6, 'u1@x', 'n').
DELETED = (
    b'{"before":{"id":1,"team_id":0,"email":"","name":null},"after":null,'
    b'"source":{"table":"users"},"op":"d"}'
)


def change(op: str, before: Any, after: Any = None) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {"table": "users"}}


def wrapped(event: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    columns = [{"type": "int32", "optional": False, "field": "id"}]
    columns += [{"type": "string", "default": defaults[name], "field": name} for name in defaults]
    rows = [{"type": "struct", "fields": columns, "field": name} for name in ("before", "after")]
    return {"schema": {"type": "struct", "fields": rows}, "payload": event}


@pytest.mark.parametrize("key", [KEY, b'{"schema":{},"payload":{"id":1}}', None])
def test_a_deleted_row_that_was_filled_in_is_not_trusted(rules: Any, key: bytes | None) -> None:
    made = plan(rules(RULES), DELETED, key=key)
    assert names(made).keys == {"user:1"}
    assert faults(made) == [("team", "no-before")]
    message = made.rejections[0].faults[0].message
    assert "REPLICA IDENTITY to FULL" in message
    assert "envelope: {old_rows: full}" in message


@pytest.mark.parametrize(
    "filled",
    [
        {"team_id": 0, "rate": 0.0, "on": False, "tags": [], "at": "1970-01-01T00:00:00Z"},
        {"team_id": "AA==", "price": {"scale": 0, "value": "AA=="}, "doc": "{}", "bin": ""},
    ],
)
def test_every_kind_of_filling_is_known(rules: Any, filled: dict[str, Any]) -> None:
    made = plan(rules(RULES), change("d", {"id": 1, **filled}), key=KEY)
    assert faults(made) == [("team", "no-before")]


def test_a_whole_row_with_empty_columns_is_trusted(rules: Any) -> None:
    event = change("d", {"id": 1, "team_id": 0, "email": "", "name": "n"})
    made = plan(rules(RULES), event, key=KEY)
    assert (names(made).keys, made.rejections) == ({"user:1", "team:0"}, [])


def test_defaults_of_columns_are_known_by_the_schema(rules: Any) -> None:
    row = {"id": 1, "team_id": "none", "state": "live"}
    event = wrapped(change("d", row), team_id="none", state="live")
    assert faults(plan(rules(RULES), event, key=KEY)) == [("team", "no-before")]
    event = wrapped(change("d", {**row, "state": "draft"}), team_id="none", state="live")
    assert names(plan(rules(RULES), event, key=KEY)).keys == {"user:1", "team:none"}


def test_rows_without_defaults_stay_on_the_fast_path(rules: Any) -> None:
    ruleset, row = rules(RULES), {"id": 1, "team_id": 5}
    event = wrapped(change("u", row, {**row, "team_id": 6}))
    with slow_path(ruleset) as taken:
        made = plan(ruleset, event, event, event, key=KEY)
    assert (names(made).keys, taken) == ({"user:1", "team:5", "team:6"}, [0])


@pytest.mark.parametrize("blank", [None, 0, "", False])
def test_a_whole_row_with_blank_columns_stays_on_the_fast_path(rules: Any, blank: Any) -> None:
    row = {"id": 1, "team_id": 5, "seen": blank, "name": "n"}
    text = "rules: [{name: r, on: users.*, invalidate: {keys: 'seen:{seen?}:{team_id}'}}]"
    ruleset = rules(text)
    events = [change("u", row, {**row, "team_id": 6}), change("d", row), wrapped(change("d", row))]
    with slow_path(ruleset) as taken:
        made = plan(ruleset, *events, key=KEY)
    assert (made.rejections, taken) == ([], [0])  # the first shows the form
    filled = {**row, "team_id": 0, "name": ""}
    made = plan(ruleset, *events, change("d", filled), key=KEY)
    assert faults(made) == [("r", "no-before")]


def test_tables_that_are_full_say_so(rules: Any) -> None:
    made = plan(rules("envelope: {old_rows: full}" + RULES), DELETED, DELETED, key=KEY)
    assert (names(made).keys, made.rejections) == ({"user:1", "team:0"}, [])


def test_tables_whose_old_rows_hold_their_key_only_say_so(rules: Any) -> None:
    event = change("d", {"id": 1, "team_id": 7, "state": "live"})  # defaults, without a schema
    made = plan(rules("envelope: {old_rows: key}" + RULES), event, event, key=KEY)
    assert (names(made).keys, faults(made)) == ({"user:1"}, [("team", "no-before")] * 2)


@pytest.mark.parametrize(
    ("old", "key"),
    [
        (None, {"team_id": 99}),  # message.key.columns
        (None, {"id": 1, "team_id": 99}),
        ({"id": 0, "team_id": 0, "email": "a@x"}, {"id": 1}),  # identity by an index
        ({"id": 0, "team_id": 0, "email": "a@x"}, {"email": "a@x"}),
        ({"email": "a@x"}, {"team_id": 99}),
    ],
)
def test_a_value_of_the_old_row_is_never_taken_from_the_new_key(
    rules: Any, old: Any, key: Any
) -> None:
    event = change("u", old, {"id": 1, "team_id": 99, "email": "b@x"})
    made = plan(rules(RULES), event, key=json.dumps(key).encode())
    assert ("team", "no-before") in faults(made)
    assert not {"team:0", "team:99"} & names(made).keys


def test_an_update_without_an_old_row_kept_its_primary_key(rules: Any) -> None:
    event = change("u", None, {"id": 1, "team_id": 99})
    made = plan(rules(RULES), event, key=KEY)
    assert (names(made).keys, faults(made)) == ({"user:1"}, [("team", "no-before")])
    event = change("u", None, {"id": 5, "team_id": 99})
    made = plan(rules("envelope: {old_rows: key}" + RULES), event, key=b'{"team_id":99}')
    assert (names(made).keys, faults(made)) == ({"team:99"}, [("user", "no-before")])


def test_a_key_column_of_another_name_may_have_changed(rules: Any) -> None:
    event = change("u", None, {"team_id": 99, "name": "n"})  # a table without an `id`
    made = plan(rules(RULES), event, key=b'{"team_id":99}')
    assert (names(made).keys, ("team", "no-before") in faults(made)) == (set(), True)
    messages = [fault.message for fault in made.rejections[0].faults if fault.rule == "team"]
    assert "envelope: {old_rows: key}" in messages[0]
    assert "REPLICA IDENTITY to FULL" in messages[0]


@pytest.mark.parametrize(
    "gone",
    [
        [95, 95, *b"debezium_unavailable_value"],
        [float(byte) for byte in b"__debezium_unavailable_value"],
        ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
        ["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="],
    ],
)
def test_placeholders_of_arrays_are_known(rules: Any, gone: list[Any]) -> None:
    ruleset = rules("rules: [{name: r, on: users.*, invalidate: {keys: 'item:{items[]}'}}]")
    packed = json.dumps(change("u", {"items": gone}, {"items": gone}), separators=(",", ":"))
    made = plan(ruleset, packed.encode(), packed.encode())
    assert (names(made).keys, faults(made)) == (set(), [("r", "no-value")] * 2)
    made = plan(ruleset, change("u", {"items": ["a"]}, {"items": gone}))
    assert names(made).keys == {"item:a"}
