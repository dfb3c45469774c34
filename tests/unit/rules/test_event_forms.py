"""Each event form of docs/event-forms.md is planned as the page says."""

import json
from pathlib import Path
from typing import Any

import pytest

from invalidator.model import Batch, Record, Slice
from invalidator.sources.stream.entries import slice_of
from tests.unit.rules.conftest import LIMIT, names

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "event-forms.md").read_text()
FORMS = sorted((ROOT / "tests" / "fixtures" / "events").glob("[0-9]*.json"))

each_form = pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)


def test_there_are_forty_two() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(FORMS) == 42 == len(rows) - 1  # the head


@each_form
def test_the_form_is_planned_and_described(rules: Any, form: Path) -> None:
    event = json.loads(form.read_text())
    ruleset = rules(json.dumps(rules_of(event)) if not event["envelope"] else text_of(event))
    made = ruleset.plan(batch_of(event), max_event_bytes=LIMIT)
    assert (names(made).keys, made.rejections) == (set(event["names"]), [])
    shown = f"`{event['envelope']}`" if event["envelope"] else "none"
    assert f"| {event['form']} | {shown} | {event['read']} |" in PAGE
    assert event["source"]
    assert event["version"]


@each_form
def test_the_dead_letter_suggests_the_line(rules: Any, form: Path) -> None:
    event = json.loads(form.read_text())
    if not event["suggested"]:
        return
    other = {**rules_of(event), "rules": [{**rules_of(event)["rules"][0], "on": "none.*"}]}
    made = rules(json.dumps(other)).plan(batch_of(event), max_event_bytes=LIMIT)
    message = made.rejections[0].faults[0].message
    assert f"envelope: {{{event['envelope']}}}" in message


def rules_of(event: dict[str, Any]) -> dict[str, Any]:
    rule = {"name": "r", "on": event["rule"]["on"], "invalidate": {"keys": event["rule"]["keys"]}}
    return {"rules": [rule]}


def text_of(event: dict[str, Any]) -> str:
    return f"envelope: {{{event['envelope']}}}\nrules: {json.dumps(rules_of(event)['rules'])}\n"


def batch_of(event: dict[str, Any]) -> Batch:
    """Return a batch of the record twice: the second time its form is known."""
    if "fields" in event:
        fields = [text.encode() for pair in event["fields"] for text in pair]
        part = slice_of("stream", event["origin"], [[b"1-0", fields], [b"1-1", fields]])
    else:
        headers = tuple((name, text.encode()) for name, text in event.get("headers", {}).items())
        key = event["key"].encode() if "key" in event else None
        raw = event["value"].encode()
        record = Record("kafka", event["origin"], "0@1", raw, key, headers)
        part = Slice(
            event["origin"], [raw, raw], lambda _: record, [headers] * 2 if headers else ()
        )
    return Batch("kafka", [part], 2, 0, None)


ROWS = {"before": {"id": 1, "team_id": 6}, "after": {"id": 1, "team_id": 7}}
CHANGE = {**ROWS, "op": "u", "source": {"table": "users"}}
CLOUD = {
    "specversion": "1.0",
    "type": "io.debezium.connector.postgresql.DataChangeEvent",
    "id": "name:shop;lsn:1;txId:2",
    "source": "/debezium/postgresql/shop",
    "iodebeziumop": "u",
    "iodebeziumtable": "users",
}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CHANGE, {"user:1", "team:6", "team:7"}),
        ({"schema": {"type": "struct"}, "payload": CHANGE}, {"user:1", "team:6", "team:7"}),
        ({**CLOUD, "data": ROWS}, {"user:1", "team:6", "team:7"}),
        ({**CLOUD, "data": {"schema": {}, "payload": ROWS}}, {"user:1", "team:6", "team:7"}),
        ("default", set()),
    ],
    ids=["change", "schema", "cloudevent", "cloudevent-schema", "tombstone"],
)
def test_every_form_of_debezium_servers_sink_is_read(
    rules: Any, extended: bool, value: Any, expected: set[str]
) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    fields = ["key", '{"id":1}', "value", text, "__DEBEZIUM.CONTEXT.TASK", "0"]
    entry = [field.encode() for field in (fields if extended else ['{"id":1}', text])]
    part = slice_of("stream", "shop.public.users", [[b"1-0", entry]])
    ruleset = rules(
        """rules:
  - {name: r, on: users.updated, invalidate: {keys: ["user:{id}", "team:{team_id}"]}}"""
    )
    made = ruleset.plan(Batch("stream", [part], 1, 0, None), max_event_bytes=LIMIT)
    assert (names(made).keys, made.rejections) == (expected, [])
