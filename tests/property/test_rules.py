"""Rules hold for any values, any order of events and any files."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from invalidator.errors import RulesError
from invalidator.layout import OWN
from invalidator.model import Names, Plan, Rejection
from invalidator.rules import RuleSet, load
from invalidator.rules.lint import check
from invalidator.targets.redis.patterns import Matcher
from invalidator.templates import Template, TemplateError, parse
from tests.unit.rules.conftest import batch, plan

SCALARS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="*?[]\\-^ab{}:", max_size=6),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.none(),
)
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def made(text: str) -> RuleSet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.yaml")
        path.write_text(text)
        return load(path)


def key_rule(template: str, kind: str = "keys") -> RuleSet:
    rule = {"name": "r", "on": "t", "allow_broad": True, "invalidate": {kind: [template]}}
    return made(json.dumps({"rules": [rule]}))


LITERALS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"], max_codepoint=0xFFFD),
    max_size=15,
).map(str.strip)


@given(LITERALS, st.text(min_size=1, max_size=20))
@example("", OWN)
@example("invalid", "ator:x")
def test_literal_text_and_values_come_out_as_they_went_in(literal: str, value: str) -> None:
    template = literal.replace("{", "{{").replace("}", "}}") + "{v}"
    result = plan(key_rule(template), {"type": "t", "v": value})
    refused = any(ord(char) < 32 or 127 <= ord(char) < 160 for char in value)
    refused = refused or (literal + value).startswith(OWN)
    assert bool(result.rejections) == refused
    if not refused:
        assert result.caches["default"].keys == {literal + value}


@given(st.text(max_size=40) | st.text(alphabet="{}|?:-.[]'\"abfirst(1) ", max_size=25))
def test_any_text_is_a_template_or_a_mistake(text: str) -> None:
    try:
        found: object = parse(text)
    except TemplateError as error:
        found = error.offset
    assert isinstance(found, Template) or found in range(len(text) + 1)


RULES = made(
    """
rules:
  - name: one
    on: ["a.*", "b"]
    invalidate:
      keys: ["k:{x}", "i:{items[].n}", "o:{y?}"]
      patterns: ["p:{x}:*"]
      tags: ["g:{y:-none|lower}"]
  - {name: two, on: "a.**", when: x != 5, invalidate: {versions: "v:{x|md5}"}}
  - {name: three, on: a.b, repeat_after: 1s, invalidate: {keys: "r:{z|json}"}}
"""
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["a.b", "a.c", "b", "a.b.c", "other"])},
    optional={
        "x": VALUES,
        "y": VALUES,
        "z": VALUES,
        "items": st.lists(st.fixed_dictionaries({}, optional={"n": VALUES}), max_size=3),
    },
)


def summary(result: Plan) -> Any:
    def sets(caches: dict[str, Names]) -> Any:
        return {
            name: (found.keys, found.patterns, found.tags, found.versions)
            for name, found in caches.items()
        }

    def rejection(entry: Rejection) -> Any:
        return entry.record.raw, entry.type, entry.faults

    return (
        sets(result.caches),
        {delay: sets(caches) for delay, caches in result.repeats.items()},
        sorted(map(rejection, result.rejections), key=repr),
        result.unmatched,
    )


@given(st.lists(EVENTS, max_size=6), st.randoms(use_true_random=False))
def test_a_plan_depends_on_the_events_and_not_on_their_order(events: Any, random: Any) -> None:
    mixed = list(events)
    random.shuffle(mixed)
    assert summary(plan(RULES, *events)) == summary(plan(RULES, *mixed))


@given(EVENTS)
def test_explain_says_what_plan_does(event: Any) -> None:
    result = plan(RULES, event)
    told = RULES.explain(next(batch(event).records()))
    planned = {
        (kind, name)
        for kind in ("keys", "patterns", "tags", "versions")
        for name in getattr(result.caches.get("default", Names()), kind)
    }
    assert planned == {(name.kind, name.name) for name in told.names}
    faults = tuple(verdict.fault for verdict in told.verdicts if verdict.fault)
    assert faults == tuple(fault for entry in result.rejections for fault in entry.faults)


@given(st.text(min_size=1, max_size=8), st.text(max_size=8))
def test_escaping_never_lets_a_value_widen_a_pattern(value: str, other: str) -> None:
    result = plan(key_rule("p:{v}", "patterns"), {"type": "t", "v": value})
    for pattern in result.caches.get("default", Names()).patterns:
        keys = [f"p:{value}".encode(), f"p:{other}".encode()]
        assert Matcher([pattern.encode()]).matching(keys) == {keys[0]}


@given(st.binary(max_size=300) | st.lists(EVENTS).map(lambda found: json.dumps(found).encode()))
def test_any_record_is_planned_or_rejected(raw: bytes) -> None:
    result = plan(RULES, raw)
    events = max(2, raw.count(b"{"))  # an array of events is one event each
    assert result.unmatched + len(result.rejections) <= events


ENVELOPES = {
    form: made(
        f"envelope: {envelope}\nrules: [{{name: r, on: '**', when: v != 5, invalidate: "
        "{keys: ['k:{v}', 'e:{event.subject?}{before.v?}{event.extensions.x?}']}}]"
    )
    for form, envelope in {
        "auto": "{}",
        "debezium": "{format: debezium}",
        "cloudevents": "{format: cloudevents}",
        "paths": '{type: [a.b, "{op.x}:{type}"], data: payload.after}',
    }.items()
}
SHAPES = st.sampled_from([*"cudrtm", "x", "", "{}", '{"v": 1}', "[", "t.u", "1.0"]) | VALUES
WRAPPED = st.dictionaries(
    st.sampled_from(
        [
            *("op", "before", "after", "source", "schema", "payload", "type", "data", "event"),
            *("entity", "action", "specversion", "data_base64", "subject", "a", "v"),
        ]
    ),
    SHAPES
    | st.dictionaries(
        st.sampled_from(["op", "before", "after", "source", "table", "collection", "b", "v"]),
        SHAPES | st.dictionaries(st.sampled_from(["v", "table", "b"]), SHAPES, max_size=2),
        max_size=5,
    ),
    max_size=6,
)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["ce_type", "ce_id", "content-type", "x"]), st.binary(max_size=5)),
    max_size=2,
)


@settings(max_examples=120)
@given(
    st.sampled_from(sorted(ENVELOPES)),
    st.lists(WRAPPED, min_size=1, max_size=3),
    st.none() | st.binary(max_size=4) | st.sampled_from([b'{"payload": 5}', b'{"id": "{"}', b"[]"]),
    HEADERS,
)
def test_whatever_is_wrapped_around_an_event_it_is_planned_or_rejected(
    form: str, events: list[Any], key: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    result = plan(ENVELOPES[form], *events, key=key, headers=headers)
    faults = [fault.error for entry in result.rejections for fault in entry.faults]
    assert not {"rule-failed", "not-read"} & set(faults)


WORDS = st.sampled_from(
    [
        *("rules", "name", "on", "when", "invalidate", "keys", "patterns", "caches", "default"),
        *("tags", "layout", "set", "key", "tag:{tag}", "tests", "event", "expect", "nothing"),
        *("envelope", "type", "sources", "versions", "prefix", "on_reject", "repeat_after", "1s"),
        *("{a}", "{a[].b}", "a.*", "x == 1", "1", "true", "*", "max_keys", "source", "protect"),
    ]
)
TREES = st.recursive(
    WORDS | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)
RULE_LIKE = st.fixed_dictionaries(
    {
        "name": st.just("r"),
        "on": WORDS,
        "invalidate": st.fixed_dictionaries(
            {}, optional={"keys": TREES, "patterns": WORDS, "tags": WORDS, "versions": WORDS}
        ),
    },
    optional={
        "when": WORDS,
        "cache": WORDS,
        "source": WORDS,
        "on_reject": TREES,
        "repeat_after": WORDS,
        "max_keys": SCALARS,
    },
)
FILES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(str.encode),
    st.text(alphabet="rules: []{}-\n\t'\"&*!|>#%@a", max_size=80).map(str.encode),
    TREES.map(lambda tree: json.dumps(tree).encode()),
    st.fixed_dictionaries(
        {"rules": st.lists(RULE_LIKE, max_size=3)},
        optional={"caches": TREES, "envelope": TREES, "tests": TREES, "version": SCALARS},
    ).map(lambda tree: json.dumps(tree).encode()),
)


@settings(max_examples=120)
@given(FILES)
def test_the_checker_never_crashes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.yaml")
        path.write_bytes(content)
        checked = check(path)
    assert checked.good == (not any(entry.severity == "error" for entry in checked.findings))


PATHS = st.sampled_from(
    [
        *("x", "y.n", "items[].n", "items[0].n", "items[]", "items[].m[].n", "data.x", 'data["x"]'),
        *("event.id", "event.key", "event.source", "event.extensions.t", "headers.h", "before.x"),
    ]
)
FILTER_LISTS = st.lists(
    st.sampled_from(["lower", "trim", "md5", "first(2)", "json", "json(sorted)", "urlencode"]),
    max_size=2,
).map(lambda found: "".join(f"|{name}" for name in found))
SLOTS = st.builds(
    lambda path, filters, absence: f"{{{path}{filters}{absence}}}",
    PATHS,
    FILTER_LISTS,
    st.sampled_from(["", "?", ":-d"]),
)
QUOTED = st.builds(
    lambda inner, filters: f"{{'{inner}'{filters}}}", st.lists(SLOTS).map("-".join), FILTER_LISTS
)
TEMPLATES = st.lists(SLOTS | QUOTED | st.just("lit:") | st.just("{{"), min_size=1, max_size=4).map(
    "".join
)
KINDS = st.sampled_from(["keys", "patterns", "tags", "versions"])
WIDE_EVENTS = st.fixed_dictionaries(
    {"type": st.just("t")},
    optional={
        "x": VALUES,
        "y": VALUES | st.fixed_dictionaries({"n": VALUES}),
        "id": VALUES,
        "before": VALUES | st.fixed_dictionaries({"x": VALUES}),
        "items": VALUES
        | st.lists(
            st.fixed_dictionaries({}, optional={"n": SCALARS, "m": st.lists(VALUES, max_size=2)}),
            max_size=3,
        ),
    },
)


@settings(max_examples=120)
@given(st.lists(st.tuples(KINDS, TEMPLATES), min_size=1, max_size=3), st.lists(WIDE_EVENTS))
def test_whatever_a_template_says_its_code_knows_why_it_fails(
    templates: list[tuple[str, str]], events: list[Any]
) -> None:
    wanted: dict[str, list[str]] = {}
    for kind, text in templates:
        wanted.setdefault(kind, []).append(text)
    on = ["t", "t.*"]
    rule = {"name": "r", "on": on, "allow_broad": True, "invalidate": wanted}
    try:
        ruleset = made(json.dumps({"rules": [rule]}))
    except RulesError:
        return
    images = [{"op": "u", "source": {"table": "t"}, "before": e, "after": e} for e in events[:2]]
    result = plan(ruleset, *events, *images, None)
    faults = [fault for entry in result.rejections for fault in entry.faults]
    assert [fault for fault in faults if fault.error == "rule-failed"] == []
