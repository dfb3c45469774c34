"""A batch whose events name very much is planned in portions."""

import time
from typing import Any

import orjson
import pytest

from invalidator.model import Batch, Record, Slice
from invalidator.rules import RuleSet
from tests.unit.rules.conftest import LIMIT

LISTS = "rules:\n- {name: r, on: a, invalidate: {keys: 'k:{id}:{xs[]}'}}"
CHANGES = "rules:\n- {name: r, on: t.updated, invalidate: {keys: 'k:{id}:{xs[]}'}}"
FAULTY = LISTS + "\n- {name: s, on: a, invalidate: {keys: 'k:{nothing}'}}"


def whole(*parts: list[bytes | None], own: list[bytes | None] | None = None) -> Batch:
    slices = [_slice(f"topic-{at}", values) for at, values in enumerate(parts)]
    events = sum(map(len, parts))
    return Batch("test", slices, events, 0, "ends", [_slice("own", own)] if own else [])


def _slice(origin: str, values: list[bytes | None]) -> Slice:
    return Slice(origin, values, lambda at: Record("test", origin, str(at), values[at]), keys=1000)


def event(number: int, many: int) -> bytes:
    return orjson.dumps({"type": "a", "data": {"id": number, "xs": list(range(many))}})


def change(number: int, many: int) -> bytes:
    row = {"id": number, "xs": list(range(many))}
    return orjson.dumps({"op": "u", "before": row, "after": row, "source": {"table": "t"}})


def in_binary_mode(number: int, many: int) -> bytes:
    return orjson.dumps({"id": number, "xs": list(range(many))})


@pytest.mark.parametrize(("text", "made"), [(LISTS, event), (FAULTY, event), (CHANGES, change)])
def test_each_event_is_in_one_portion_which_has_few_names(rules: Any, text: str, made: Any) -> None:
    found: RuleSet = rules(text)
    batch = whole([made(n, 100) for n in range(250)], [made(n, 5) for n in range(250, 400)])
    portions = list(found.portions(batch, max_event_bytes=LIMIT, name_bytes=50_000, seconds=60))
    records = [record.raw for portion, _ in portions for record in portion.records()]
    assert records == [record.raw for record in batch.records()]
    assert sum(portion.events for portion, _ in portions) == 400
    assert [portion.continued for portion, _ in portions][-2:] == [True, False]
    assert len(portions) > 30
    assert max(plan.names for _, plan in portions) < 2000
    together: set[str] = set()
    for _, plan in portions:
        together |= plan.caches["default"].keys
    whole_plan = found.plan(batch, max_event_bytes=LIMIT)
    assert together == whole_plan.caches["default"].keys
    rejected = [rejection for _, plan in portions for rejection in plan.rejections]
    assert rejected == whole_plan.rejections
    assert len(rejected) == (400 if text is FAULTY else 0)


def test_types_in_headers_and_own_events_are_planned_in_portions_too(rules: Any) -> None:
    found: RuleSet = rules(LISTS)
    values: list[bytes | None] = [in_binary_mode(n, 100) for n in range(50)]
    headers = [(("ce_type", b"a"), ("ce_specversion", b"1.0"), ("ce_id", b"1"))] * 50
    part = Slice("t", values, lambda at: Record("test", "t", "", values[at]), headers)
    own = whole([], own=[event(99, 5)]).own
    batch = Batch("test", [part], 50, 0, None, own)
    portions = list(found.portions(batch, max_event_bytes=LIMIT, name_bytes=50_000, seconds=60))
    assert sum(plan.caches["default"].count() for _, plan in portions) == 5005
    assert len(portions) > 5
    assert [len(portion.own) for portion, _ in portions][-1] == 1


def test_a_portion_ends_where_planning_took_long_enough(rules: Any) -> None:
    found: RuleSet = rules(LISTS)
    batch = whole([event(n, 1000) for n in range(500)])
    longest, began = 0.0, time.perf_counter()
    for portion, _ in found.portions(
        batch, max_event_bytes=LIMIT, name_bytes=1 << 30, seconds=0.005
    ):
        assert portion.events < 500
        longest, began = max(longest, time.perf_counter() - began), time.perf_counter()
    assert longest < 5


def test_an_empty_batch_is_one_portion(rules: Any) -> None:
    found: RuleSet = rules(LISTS)
    ((portion, plan),) = found.portions(whole([]), max_event_bytes=LIMIT, name_bytes=1, seconds=1)
    assert (portion.ends, portion.continued, plan.names) == ("ends", False, 0)


@pytest.mark.parametrize("text", [LISTS, FAULTY])
def test_a_record_that_is_a_list_of_events_is_divided_too(rules: Any, text: str) -> None:
    found: RuleSet = rules(text)
    many = [event(n, 100) for n in range(40)]
    listed = b"[" + b",".join(many) + b"]"
    batch = whole([event(100, 5), listed, event(101, 5)] * 3, [listed, listed])
    portions = list(found.portions(batch, max_event_bytes=LIMIT, name_bytes=50_000, seconds=60))
    assert [record.raw for portion, _ in portions for record in portion.records()] == [
        *[event(100, 5), *many, event(101, 5)] * 3,
        *many * 2,
    ]
    assert max(plan.names for _, plan in portions) < 2000
    assert sum(portion.events for portion, _ in portions) == 6 + 5 * 40
    whole_plan = found.plan(batch, max_event_bytes=LIMIT)
    together = {key for _, plan in portions for key in plan.caches["default"].keys}
    assert together == whole_plan.caches["default"].keys
    assert len(together) == 40 * 100 + 2 * 5
    rejected = [rejection for _, plan in portions for rejection in plan.rejections]
    assert rejected == whole_plan.rejections
    assert len(rejected) == (6 + 5 * 40 if text is FAULTY else 0)
    assert rejected[1:2] == [] or rejected[1].record.position == "1[0]"
