"""Events in their envelopes: plain, CloudEvents, Debezium, and records that are not JSON."""

import base64
import json
from typing import Any

import pytest

from tests.unit.rules.conftest import faults, names, plan

ANY = "rules: [{name: r, on: '**', invalidate: {keys: ['{event.type}:{id}']}}]"


def test_the_type_is_the_first_that_is_there(rules: Any) -> None:
    ruleset = rules(ANY)
    made = plan(
        ruleset,
        {"type": "a", "id": 1},
        {"event": "b", "data": {"id": 2}},
        {"entity": "user", "action": "update", "id": 3},
    )
    assert names(made).keys == {"a:1", "b:2", "user.update:3"}


def test_an_envelope_says_where_type_and_data_stand(rules: Any) -> None:
    ruleset = rules(
        """
envelope:
  type: [meta.kind]
  data: body.row
  sources: {"legacy.*": {type: "{table}:{op}"}}
"""
        + ANY
    )
    made = plan(ruleset, {"meta": {"kind": "x"}, "body": {"row": {"id": 1}}})
    assert names(made).keys == {"x:1"}
    made = plan(ruleset, {"table": "t", "op": "u", "id": 1}, origin="legacy.1")
    assert names(made).keys == {"t:u:1"}
    assert faults(plan(ruleset, {"meta": {"kind": "x"}})) == [(None, "no-data")]


CLOUD = """rules:
  - name: r
    on: order.updated
    invalidate:
      keys: ["{id}:{event.id}:{event.subject}:{event.source}:{event.extensions.tenant}"]
"""
ATTRIBUTES = {
    "specversion": "1.0",
    "type": "order.updated",
    "id": "e1",
    "source": "/shop",
    "subject": "s",
    "tenant": "t1",
}


def test_cloudevents_structured(rules: Any) -> None:
    encoded = base64.b64encode(b'{"id": 6}').decode()
    made = plan(
        rules(CLOUD),
        {**ATTRIBUTES, "data": {"id": 5}},
        {**ATTRIBUTES, "data_base64": encoded},
    )
    assert names(made).keys == {"5:e1:s:/shop:t1", "6:e1:s:/shop:t1"}


def test_cloudevents_binary_takes_the_type_from_headers(rules: Any) -> None:
    headers = [(f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()]
    made = plan(rules(CLOUD), {"id": 5, "type": "premium"}, headers=headers)
    assert names(made).keys == {"5:e1:s:/shop:t1"}


MOVED = """rules:
  - {name: user, on: users.*, invalidate: {keys: ["user:{id}"]}}
  - {name: team, on: users.*, invalidate: {keys: ["team:{team_id}:members"]}}
"""


def change(op: str, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {"table": "users"}, **more}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_row_that_moves_makes_both_teams_stale(rules: Any, wrapped: bool) -> None:
    event = change("u", {"id": 1, "team_id": 5}, {"id": 1, "team_id": 6})
    if wrapped:
        event = {"schema": {"type": "struct"}, "payload": event}
    made = plan(rules(MOVED), event, origin="db.public.users")
    assert names(made).keys == {"user:1", "team:5:members", "team:6:members"}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (change("c", None, {"id": 1, "team_id": 5}), {"user:1", "team:5:members"}),
        (change("d", {"id": 1, "team_id": 5}, None), {"user:1", "team:5:members"}),
        (
            change("u", {"id": 1, "team_id": 5}, {"id": 1, "team_id": None}),
            {"user:1", "team:5:members"},
        ),
    ],
)
def test_rows_that_come_and_go(rules: Any, event: Any, expected: set[str]) -> None:
    made = plan(rules(MOVED), event)
    assert names(made).keys == expected
    assert not made.rejections


def test_an_old_row_that_did_not_come_along_is_rejected_by_the_rule_that_needs_it(
    rules: Any,
) -> None:
    event = change("u", None, {"id": 1, "team_id": 6})
    made = plan(rules(MOVED), event, key=b'{"schema":{},"payload":{"id":1}}')
    assert names(made).keys == {"user:1"}
    assert faults(made) == [("team", "no-before")]
    assert "REPLICA IDENTITY" in made.rejections[0].faults[0].message


def test_a_large_column_that_did_not_change_is_taken_from_the_old_row(
    rules: Any,
) -> None:
    ruleset = rules("rules: [{name: r, on: users.*, invalidate: {keys: ['b:{bio}']}}]")
    gone = "__debezium_unavailable_value"
    made = plan(ruleset, change("u", {"bio": "x"}, {"bio": gone}))
    assert names(made).keys == {"b:x"}
    assert faults(plan(ruleset, change("u", {"bio": gone}, {"bio": gone}))) == [("r", "no-value")]


def test_snapshots_and_truncations_match_only_by_name(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - {name: wide, on: ["users.*", "**"], invalidate: {keys: wide}}
  - {name: named, on: ["users.read", "*.truncated"], invalidate: {keys: named}}"""
    )
    made = plan(ruleset, change("r", None, {"id": 1}), change("t", None, None))
    assert names(made).keys == {"named"}
    assert names(plan(ruleset, {"type": "users.read"})).keys == {"wide", "named"}


def test_mongodb_writes_its_documents_as_text(rules: Any) -> None:
    ruleset = rules(MOVED)
    event = {
        "op": "c",
        "before": None,
        "after": json.dumps({"id": 1, "team_id": 2}),
        "source": {"collection": "users"},
    }
    assert names(plan(ruleset, event)).keys == {"user:1", "team:2:members"}


def test_a_condition_that_held_for_the_old_row_counts_too(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - name: r
    on: users.updated
    when: state == "live" || changed("team_id")
    invalidate: {keys: ["t:{team_id}"]}"""
    )
    old, new = {"team_id": 1, "state": "live"}, {"team_id": 1, "state": "draft"}
    assert names(plan(ruleset, change("u", old, new))).keys == {"t:1"}
    assert plan(ruleset, change("u", new, new)).caches == {}


def test_tombstones_are_acknowledged(rules: Any) -> None:
    made = plan(rules(MOVED), None, {"schema": None, "payload": None})
    assert (made.rejections, made.unmatched) == ([], 0)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"\xc3\x01" + b"x" * 20, "avro"),
        (b"Obj\x01\x04", "avro"),
        (b"\0\0\0\0\x05\x0cabcdef", "avro-or-protobuf"),
        (b"\0\0\0\0\x05{}}", "avro-or-protobuf"),
        (b"\x0a\x03abc\x10\x05", "not-json"),
        (b'{"type": ', "not-json"),
        (b"hello", "not-json"),
        (b"", "not-json"),
        (b"\0", "not-json"),
    ],
)
def test_a_record_that_is_not_json_is_named(rules: Any, raw: bytes, error: str) -> None:
    assert faults(plan(rules(ANY), raw)) == [(None, error)]


@pytest.mark.parametrize("word", ["avro", "protobuf"])
def test_a_record_is_named_by_its_content_type(rules: Any, word: str) -> None:
    headers = [("content-type", f"application/vnd.{word}".encode())]
    assert faults(plan(rules(ANY), b"\x0a\x03abc", headers=headers)) == [(None, word)]


def test_json_in_a_schema_registrys_frame_is_read(rules: Any) -> None:
    made = plan(rules(ANY), b'\0\0\0\0\x05{"type": "a", "id": 1}')
    assert names(made).keys == {"a:1"}


KEY = b'{"id": 1}'
GONE = "__debezium_unavailable_value"
SILENT = "rules: [{name: r, on: users.*, when: '%s', invalidate: {keys: 'u:{id}'}}]"


@pytest.mark.parametrize(
    ("when", "event"),
    [
        ('has(state) && state == "live"', change("u", None, {"id": 1, "state": "draft"})),
        (
            'has(before.state) && before.state == "live"',
            change("u", {"id": 1}, {"id": 1, "state": 1}),
        ),
        ('"live" in after.tags', change("u", None, {"id": 1, "tags": [GONE]})),
        ('has(bio) && bio.contains("x")', change("u", None, {"id": 1, "bio": GONE})),
        ('after.bio == "x"', change("u", {"id": 1, "bio": GONE}, {"id": 1, "bio": GONE})),
        ('state == "live"', change("d", {"id": 1, "state": None}, None)),
        ('has(state) && state == "live"', change("d", None, None)),
    ],
)
def test_a_condition_on_what_did_not_come_along_does_not_miss_in_silence(
    rules: Any, when: str, event: Any
) -> None:
    made = plan(rules(SILENT % when), event, key=KEY)
    assert names(made).keys == {"u:1"}
    assert [word for _, word in made.notes] == ["condition-failed"]


def test_a_large_column_that_did_not_change_is_no_change(rules: Any) -> None:
    ruleset = rules(SILENT % 'changed("bio")')
    for old in (None, {"id": 1}, {"id": 1, "bio": "x"}, {"id": 1, "bio": GONE}):
        made = plan(ruleset, change("u", old, {"id": 1, "bio": GONE}), key=KEY)
        assert (names(made).keys, made.notes, made.rejections) == (set(), {}, [])
    made = plan(ruleset, change("u", {"id": 1, "bio": "x"}, {"id": 1, "bio": "y"}), key=KEY)
    assert names(made).keys == {"u:1"}


@pytest.mark.parametrize("root", ["", "after.", "before."])
@pytest.mark.parametrize(
    "gone", [GONE, base64.b64encode(GONE.encode()).decode(), [GONE], {GONE: GONE}]
)
def test_a_placeholder_never_gets_into_a_name(rules: Any, root: str, gone: Any) -> None:
    ruleset = rules(
        f"rules: [{{name: r, on: users.*, invalidate: {{keys: 'b:{{{root}bio|json}}'}}}}]"
    )
    made = plan(ruleset, change("u", {"bio": "x"}, {"bio": gone}))
    assert names(made).keys == {'b:"x"'}
    made = plan(ruleset, change("u", {"bio": gone}, {"bio": gone}))
    assert (names(made).keys, faults(made)) == (set(), [("r", "no-value")])


def test_a_deleted_row_that_came_with_its_key_only_is_rejected_where_more_is_needed(
    rules: Any,
) -> None:
    ruleset = rules(MOVED + '  - {name: o, on: users.*, invalidate: {keys: "o:{team_id?}"}}')
    made = plan(ruleset, change("d", {"id": 1, "team_id": None}, None), key=KEY)
    assert names(made).keys == {"user:1"}
    assert faults(made) == [("team", "no-before"), ("o", "no-before")]
    known = change("d", {"id": 1, "team_id": None, "email": "a@x"}, None)
    assert faults(plan(ruleset, known, key=KEY)) == [("team", "null-field")]


def test_a_document_that_is_gone_is_known_by_its_records_key(rules: Any) -> None:
    ruleset = rules("""rules:
  - {name: one, on: users.*, invalidate: {keys: 'u:{_id["$oid"]}'}}
  - {name: two, on: users.*, invalidate: {keys: "n:{name?}"}}""")
    key = json.dumps({"id": json.dumps({"$oid": "abc"})}).encode()
    event = {"op": "d", "before": None, "after": None, "source": {"collection": "users"}}
    made = plan(ruleset, event, key=key)
    assert names(made).keys == {"u:abc"}
    assert faults(made) == [("two", "no-before")]
    after = json.dumps({"_id": {"$oid": "abc"}, "name": "n"})
    made = plan(ruleset, {**event, "op": "u", "after": after}, key=key)
    assert names(made).keys == {"u:abc"}
    assert faults(made) == [("two", "no-before")]


@pytest.mark.parametrize(
    ("template", "old", "new", "expected"),
    [
        ("k:{tags[]}", {"tags": None}, {"tags": ["b"]}, {"k:b"}),
        ("k:{tags[]}", {"tags": []}, {"tags": []}, set()),
        ("k:{tags[]}", {"tags": None}, {"tags": None}, "null-field"),
        ("k:{team}:{tags[]}", {"tags": ["a"]}, {"tags": ["a"]}, "missing-field"),
        ("k:{team}:{tags[]}", {"tags": ["a"], "team": None}, {"tags": ["a"], "team": 1}, {"k:1:a"}),
        ("k:{team?}:{tags[]}", {"tags": ["a"]}, {"tags": ["a"]}, set()),
    ],
)
def test_lists_of_both_rows(rules: Any, template: str, old: Any, new: Any, expected: Any) -> None:
    ruleset = rules(
        f"rules: [{{name: r, on: users.*, invalidate: {{keys: [{template!r}, fixed]}}}}]"
    )
    made = plan(ruleset, change("u", old, new))
    if isinstance(expected, str):
        assert faults(made) == [("r", expected)]
    else:
        assert names(made).keys == expected | {"fixed"}


@pytest.mark.parametrize("op", [[], {}, None, 5, True, ["u"]])
@pytest.mark.parametrize("form", ["auto", "debezium"])
def test_a_change_event_of_no_known_kind_is_rejected_and_no_crash(
    rules: Any, form: str, op: Any
) -> None:
    ruleset = rules(f"envelope: {{format: {form}}}\n{ANY}")
    made = plan(ruleset, change(op, None, {"id": 1}), {"type": "a", "id": 1})
    assert len(made.rejections) == (2 if form == "debezium" else 1)
    assert {word for _, word in faults(made)} <= {"missing-field", "not-debezium"}


HALF = rb'{"type": "a", "id": "\ud83d"}'
HUGE = b'{"type": "a", "huge": 1e400, "id": "i"}'


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (HALF, "a:\ufffd"),
        (HALF.replace(b"}", b', "n": 1e400}'), "a:\ufffd"),
        (HALF.replace(rb"\ud83d", rb"\uDE00-\ud83d"), "a:\ufffd-\ufffd"),
        (HALF.replace(rb"\ud83d", rb"\ud83d\ud83d\ude00"), "a:\ufffd\U0001f600"),
        (HALF.replace(rb'"id": "\ud83d"', rb'"id": "\\ud83d", "n": "\ud83d"'), "a:\\ud83d"),
        (
            HALF.replace(rb'"id": "\ud83d"', rb'"id": 18446744073709551617, "\ude00": -0.5'),
            "a:18446744073709551617",
        ),
        (HALF.replace(b'"a"', rb'"\udfff"'), "\ufffd:\ufffd"),
    ],
    ids=range(7),
)
def test_a_text_that_was_cut_within_a_character_is_read(rules: Any, raw: bytes, key: str) -> None:
    """With half of a surrogate pair in it, a name could not be sent to any Redis."""
    row = {"op": "c", "source": {"table": "t"}, "after": "ROW"}
    change = json.dumps(row).encode().replace(b'"ROW"', raw)
    made = plan(rules(ANY), raw, change, raw)
    assert not made.rejections
    assert names(made).keys == {key, "t.created:" + key.partition(":")[2]}


@pytest.mark.parametrize(
    "raw",
    [
        HALF.replace(rb"\ud83d", b"\xed\xa0\xbd"),
        HALF.replace(rb"\ud83d", rb"\ud83d" + b"\xed\xa0\xbd"),
        HALF.replace(rb'"\ud83d"', rb'"\ud83d", "n": NaN'),
        HALF.replace(b"}", b""),
        HUGE.replace(b'"i"', b"NaN"),
        HUGE.replace(b'"i"', b"-Infinity"),
        HUGE.replace(b'"i"', b"[" * 30_000 + b"]" * 30_000),
    ],
    ids=range(7),
)
def test_what_is_read_leniently_must_be_json_all_the_same(rules: Any, raw: bytes) -> None:
    assert faults(plan(rules(ANY), raw)) == [(None, "not-json")]


def test_numbers_that_python_will_not_read_stand_beside_what_rules_read(rules: Any) -> None:
    huge = b"9" * 5000
    good = b'{"type": "a", "id": 1, "n": [-%s, 1e400, 7]}' % huge
    bad = b'{"type": "a", "id": %s}' % huge
    change = {"op": "c", "source": {"table": "t"}, "after": {"id": 2}}
    made = plan(rules(ANY), change, good, bad)
    assert names(made).keys == {"t.created:2", "a:1"}
    assert faults(made) == [("r", "not-scalar")]


def test_cloudevents_without_a_version_are_read_alike_wherever_they_stand(rules: Any) -> None:
    ruleset = rules("envelope: {format: cloudevents}\n" + ANY.replace("{id}", "{id}:{event.id?}"))
    event = {"type": "a", "id": "e", "data_base64": base64.b64encode(b'{"id": 7}').decode()}
    whole = {"type": "a", "id": "e", "data": {"id": 6}}
    assert names(plan(ruleset, event)).keys == names(plan(ruleset, b"no", event)).keys == {"a:7:e"}
    assert names(plan(ruleset, whole, event)).keys == {"a:6:e", "a:7:e"}
    assert faults(plan(ruleset, {"type": "a", "id": "e"})) == [("r", "missing-field")]


def test_what_says_its_type_elsewhere_is_no_event_of_ours(rules: Any) -> None:
    ruleset = rules("envelope: {type: kind, data: row}\n" + ANY)
    event = {"kind": "a", "type": "invalidator.gap", "data": {}, "row": {"id": 1}}
    change = {"op": "c", "source": {"table": "t"}, "after": {"id": 2}}
    assert names(plan(ruleset, event)).keys == {"a:1"}
    assert names(plan(ruleset, change, event)).keys == {"a:1", "t.created:2"}
