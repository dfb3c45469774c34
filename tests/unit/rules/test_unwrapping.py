"""Events that came through a transform, a bridge or a batch before they were published."""

import base64
import json
from typing import Any

import pytest

from invalidator.errors import RulesError
from invalidator.model import Failure, Record
from tests.unit.rules.conftest import batch, faults, names, plan

USERS = """
rules:
  - {name: user, on: [users.*, shop.public.users], invalidate: {keys: "user:{id}"}}
  - {name: team, on: [users.*, shop.public.users], invalidate: {keys: "team:{team_id}"}}
"""
KEY = b'{"schema":{"type":"struct"},"payload":{"id":1}}'
TOPIC = "shop.public.users"
PLAIN = "rules: [{name: r, on: order.updated, invalidate: {keys: 'order:{orderId}'}}]"


@pytest.mark.parametrize("raw", [b"null", b'{"schema":{"type":"struct"},"payload":null}'])
@pytest.mark.parametrize("envelope", ["", "envelope: {type: '{__table}.{__op}'}"])
def test_a_deleted_row_that_was_unwrapped_is_known_by_its_key(
    rules: Any, raw: bytes, envelope: str
) -> None:
    made = plan(rules(envelope + USERS), raw, origin=TOPIC, key=KEY)
    assert names(made).keys == {"user:1"}
    assert faults(made) == [("team", "no-before")]
    assert "delete.tombstone.handling.mode=rewrite" in made.rejections[0].faults[0].message


def test_the_type_of_such_a_deletion_is_the_one_that_rules_are_on(rules: Any) -> None:
    template = "rules: [{name: r, on: %s, invalidate: {keys: 'user:{id}'}}]"
    for kind in ("users.*", "users.deleted", "users.d", "users", TOPIC):
        made = plan(rules(template % kind), b"null", origin=TOPIC, key=b'{"id":1}')
        assert names(made).keys == {"user:1"}
    made = plan(rules(template % "teams.*"), b"null", origin=TOPIC, key=b'{"id":1}')
    assert (made.caches, made.unmatched) == ({}, 1)


def test_tombstones_stay_tombstones(rules: Any) -> None:
    made = plan(rules(USERS), None, origin=TOPIC, key=KEY)
    assert (made.caches, made.rejections, made.unmatched) == ({}, [], 0)


def test_an_unwrapped_row_that_was_filled_in_is_not_trusted(rules: Any) -> None:
    ruleset = rules("envelope: {type: '{__table}.{__op}'}" + USERS)
    added = {"__op": "d", "__table": "users", "__deleted": "true"}
    row = {"id": 1, "team_id": 0, "email": "", **added}
    made = plan(ruleset, row, origin=TOPIC, key=KEY)
    assert (names(made).keys, faults(made)) == ({"user:1"}, [("team", "no-before")])
    made = plan(ruleset, {**row, "email": "a@x"}, origin=TOPIC, key=KEY)
    assert names(made).keys == {"user:1", "team:0"}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    "event",
    [
        {"op": "m", "ts_ms": 1, "source": {}, "message": {"prefix": "p", "content": "aGk="}},
        {
            "status": "END",
            "id": "571:53195832",
            "event_count": 2,
            "ts_ms": 1580390884335,
            "data_collections": [{"data_collection": "s1.a", "event_count": 2}],
        },
        {
            "source": {"server": "shop"},
            "ts_ms": 1,
            "databaseName": "shop",
            "schemaName": None,
            "ddl": "CREATE TABLE a (id INT)",
            "tableChanges": [],
        },
    ],
    ids=["message", "transaction", "schema-change"],
)
def test_what_debezium_says_about_no_row_is_nothing_to_do(
    rules: Any, event: Any, wrapped: bool
) -> None:
    ruleset = rules("rules: [{name: r, on: '**', invalidate: {keys: all}}]")
    made = plan(ruleset, {"schema": {}, "payload": event} if wrapped else event)
    assert (made.caches, made.rejections, made.unmatched) == ({}, [], 1)


def test_heartbeats_are_nothing_to_do(rules: Any) -> None:
    made = plan(rules(USERS), {"ts_ms": 1}, origin="__debezium-heartbeat.shop")
    assert (made.rejections, made.unmatched) == ([], 1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_change_events_within_cloudevents_are_change_events(rules: Any, wrapped: bool) -> None:
    rows: dict[str, Any] = {"before": {"id": 1, "team_id": 5}, "after": {"id": 1, "team_id": 6}}
    event = {
        "id": "name:shop;lsn:1;txId:2",
        "source": "/debezium/postgresql/shop",
        "specversion": "1.0",
        "type": "io.debezium.connector.postgresql.DataChangeEvent",
        "datacontenttype": "application/json",
        "iodebeziumop": "u",
        "iodebeziumtable": "users",
        "data": {"payload": rows} if wrapped else rows,
    }
    made = plan(rules(USERS), event, event, origin=TOPIC)
    assert names(made).keys == {"user:1", "team:5", "team:6"}


def test_json_within_a_text_is_opened(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: outbox.order, invalidate: {keys: 'order:{orderId}'}}]")
    made = plan(ruleset, rb'"{\"orderId\": \"o1\"}"', origin="outbox.order")
    assert names(made).keys == {"order:o1"}
    made = plan(rules(PLAIN), {"type": "order.updated", "data": '{"orderId": "o2"}'})
    assert names(made).keys == {"order:o2"}
    nested = json.dumps(json.dumps(json.dumps({"orderId": 1}))).encode()
    assert faults(plan(ruleset, nested, origin="outbox.order")) == [(None, "not-object")]


def test_a_text_that_is_no_json_stays_a_field(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: t, invalidate: {keys: 'k:{data.data}'}}]")
    for text in ("plain", "{broken", "eyJicm9rZW4", "e30="):
        event = {"type": "t", "data": text}
        made = plan(ruleset, event, event)
        assert names(made).keys == ({f"k:{text}"} if text != "e30=" else set())


def test_optional_fields_of_json_within_a_text_are_read_alike(rules: Any) -> None:
    ruleset = rules("rules: [{name: r, on: t, invalidate: {keys: 'k:{orderId?}'}}]")
    around = {"type": "t", "orderId": 1}
    made = plan(ruleset, around, {"type": "t", "data": '{"orderId": 2}'}, around)
    assert names(made).keys == {"k:1", "k:2"}


@pytest.mark.parametrize(
    ("envelope", "event", "headers"),
    [
        ("type: headers.eventType", {"orderId": "o1"}, {"eventType": "order.updated"}),
        ("type: headers.eventType", {"orderId": "o1"}, {"eventType": '"order.updated"'}),
        ("type: '{headers.X-Topic}.{action}'", {"orderId": "o1", "action": "updated"},
         {"X-Topic": "order"}),
        ("type: 'headers[\"a.b\"]'", {"orderId": "o1"}, {"a.b": "order.updated"}),
        ("type: headers.task, data: 'body[1]'",
         {"headers": {"task": "order.updated"},
          "body": base64.b64encode(b'[[], {"orderId": "o1"}, {}]').decode()}, {}),
        ("type: 'messageType[0]', data: message",
         {"messageType": ["order.updated"], "message": {"orderId": "o1"}}, {}),
        ("type: '[0]', data: '[1]'", ["order.updated", {"orderId": "o1"}], {}),
        ("type: Message.type, data: Message.data",
         {"Message": '{"type": "order.updated", "data": {"orderId": "o1"}}'}, {}),
        ("type: kind, data: payload", {"kind": "order.updated", "payload": '{"orderId":"o1"}'}, {}),
    ],
)  # fmt: skip
def test_an_envelope_reaches_headers_lists_and_texts(
    rules: Any, envelope: str, event: Any, headers: dict[str, str]
) -> None:
    ruleset = rules(f"envelope: {{{envelope}}}\n{PLAIN}")
    found = [(name, value.encode()) for name, value in headers.items()]
    made = plan(ruleset, event, event, headers=found)
    assert (names(made).keys, made.rejections) == ({"order:o1"}, [])


@pytest.mark.parametrize("prefix", ["ce_", "ce-", "Ce-", "cloudEvents:", "cloudEvents_"])
def test_the_headers_of_cloudevents_are_known_by_every_binding(rules: Any, prefix: str) -> None:
    name = "Type" if prefix == "Ce-" else "type"
    headers = [(prefix + name, b"order.updated")]
    assert names(plan(rules(PLAIN), {"orderId": "o1"}, headers=headers)).keys == {"order:o1"}


def test_an_array_of_events_is_one_event_each(rules: Any) -> None:
    good = {"type": "order.updated", "data": {"orderId": "o1"}}
    ruleset = rules(PLAIN)
    events = [good, {"type": "order.updated", "data": {}}, {**good, "data": {"orderId": "o3"}}]
    made = plan(ruleset, good, events, [])
    assert names(made).keys == {"order:o1", "order:o3"}
    assert faults(made) == [("r", "missing-field"), (None, "not-object")], "an empty one is none"
    record = made.rejections[0].record
    assert (record.position, record.raw) == ("1[1]", json.dumps(events[1]).encode())


def test_an_array_of_events_is_explained_and_blamed(rules: Any) -> None:
    ruleset = rules(PLAIN)
    events = [{"type": "order.updated", "data": {"orderId": at}} for at in range(3)]
    record = Record("kafka", "orders", "3@1042", json.dumps(events).encode())
    assert [name.name for name in ruleset.explain(record).names] == [
        "order:0",
        "order:1",
        "order:2",
    ]
    assert len(list(ruleset.met(record, max_event_bytes=1000))) == 3
    failure = Failure("default", "keys", "order:2", "noperm", "no")
    found = ruleset.blame(batch(events), [failure], max_event_bytes=1000)
    assert [entry.record.position for entry in found if entry] == ["0[2]"]


@pytest.mark.parametrize("raw", [b"[1]", b'["t", {}]', b"[{}, 1]", b"[[{}]]", b"[{},"])
def test_other_lists_are_rejected(rules: Any, raw: bytes) -> None:
    assert len(faults(plan(rules(PLAIN), raw))) == 1


ROOT = """
rules:
  - name: r
    on: order.updated
    %s
    invalidate: {keys: '{root.tenantId}:order:{orderId}'}
"""


@pytest.mark.parametrize("when", ["", "when: root.tenantId != 't2'"])
def test_root_is_the_whole_event(rules: Any, when: str) -> None:
    event = {"type": "order.updated", "tenantId": "t1", "data": {"orderId": 1, "tenantId": "no"}}
    made = plan(rules(ROOT % when), event, {**event, "tenantId": "t2"}, {**event, "root": 1})
    assert names(made).keys == {"t1:order:1"} | (set() if when else {"t2:order:1"})


@pytest.mark.parametrize(
    ("template", "event", "expected"),
    [
        ("{root.old.team}:{team}", {"type": "u", "data": {"team": 1}, "old": {"team": 2}}, "2:1"),
        ("{root.data.team}", {"type": "u", "data": {"team": 1, "x": 2}}, "1"),
        ("{root.source.db}", {"op": "u", "before": {"a": 1}, "after": {"a": 1},
                              "source": {"table": "t", "db": "shop"}}, "shop"),
        ("{root.source.db?}", {"op": "c", "before": None, "after": {"a": 1},
                               "source": {"table": "t", "db": "shop"}}, "shop"),
        ("{root.tenant}", {"specversion": "1.0", "type": "u", "tenant": "t", "data": {}}, "t"),
    ],
)  # fmt: skip
def test_root_reaches_what_stands_beside_the_data(
    rules: Any, template: str, event: Any, expected: str
) -> None:
    ruleset = rules(f"rules: [{{name: r, on: '**', invalidate: {{keys: 'k:{template}'}}}}]")
    made = plan(ruleset, event, event, event)
    assert (names(made).keys, made.rejections) == ({f"k:{expected}"}, [])


def test_rows_are_roots_of_their_own(rules: Any) -> None:
    for where in (
        "invalidate: {keys: '{root.before.x}'}",
        "when: root.after.x == 1, invalidate: {keys: a}",
    ):
        with pytest.raises(RulesError, match="is a root of its own"):
            rules(f"rules: [{{name: r, on: users.*, {where}}}]")


@pytest.mark.parametrize(
    ("event", "headers", "line"),
    [
        ({"pattern": "a", "data": {}}, [], "type: pattern"),
        ({"detail-type": "a", "detail": {}}, [], "type: detail-type, data: detail"),
        ({"eventType": "a", "payload": {}}, [], "type: eventType, data: payload"),
        ({"meta": {"type": "a"}, "payload": '{"a": 1}'}, [], "type: meta.type, data: payload"),
        ({"data": {}, "metadata": {"operation": "update", "table-name": "users"}}, [],
         "type: '{metadata.table-name}.{metadata.operation}'"),
        ({"orderId": 1}, [("content-type", b""), ("eventType", b"a")], "type: headers.eventType"),
        ({"orderId": 1}, [("a.type", b"a")], "type: 'headers[\"a.type\"]'"),
    ],
)  # fmt: skip
def test_an_event_without_a_type_is_told_its_envelope(
    rules: Any, event: Any, headers: Any, line: str
) -> None:
    made = plan(rules(PLAIN), event, headers=headers)
    fault = made.rejections[0].faults[0]
    assert fault.error == "no-type"
    assert f"its fields are {', '.join(event)}; perhaps envelope: {{{line}}}" in fault.message


def test_fields_are_named_shortly_and_escaped(rules: Any) -> None:
    event = {"\x1b[31m" + "x" * 100: 1, **{f"f{at}": at for at in range(50)}}
    message = plan(rules(PLAIN), event).rejections[0].faults[0].message
    assert "\x1b" not in message
    assert len(message) < 400
    assert message.endswith(", …")


@pytest.mark.parametrize(
    ("raw", "error", "remedy"),
    [
        (b"\x89BIN\r\n\x1a\n\0\1\0\0\0\x12", "faststream", "message_format=JSONMessageFormat"),
        (b"_watermill_message_uuid 1 metadata \x80 payload {}", "watermill", "field called event"),
    ],
)
def test_frames_of_libraries_are_named(rules: Any, raw: bytes, error: str, remedy: str) -> None:
    fault = plan(rules(PLAIN), raw).rejections[0].faults[0]
    assert (fault.error, remedy in fault.message) == (error, True)


def test_a_list_with_a_type_in_it_is_told_its_envelope(rules: Any) -> None:
    made = plan(rules(PLAIN), ["order.updated", {"orderId": 1}])
    assert "perhaps envelope: {type: '[0]', data: '[1]'}" in made.rejections[0].faults[0].message


@pytest.mark.parametrize(
    "envelope",
    [
        "envelope: {type: '{__table}.{__op}'}",
        "envelope: {type: '{payload.__table}.{payload.__op}', data: payload}",
    ],
)
def test_an_unwrapped_row_with_a_schema_is_trusted_no_more(rules: Any, envelope: str) -> None:
    ruleset = rules(envelope + USERS)
    added = {"__op": "d", "__table": "users", "__deleted": "true"}
    row = {"id": 1, "team_id": 0, "email": "", **added}
    wrapped = {"schema": {"type": "struct"}, "payload": row}
    made = plan(ruleset, wrapped, origin=TOPIC, key=KEY)
    assert (names(made).keys, faults(made)) == ({"user:1"}, [("team", "no-before")])
    wrapped["payload"] = {**row, "email": "a@x", "__op": "u", "__deleted": "false"}
    made = plan(ruleset, wrapped, wrapped, origin=TOPIC, key=KEY)
    assert names(made).keys == {"user:1", "team:0"}
