"""Templates and the names that they give for an event."""

import hashlib
from typing import Any

import pytest

from invalidator.templates import TemplateError, parse
from tests.unit.rules.conftest import names, plan

ITEMS = {"items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}], "id": 7, "q": " Red Hat "}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("item:{items[].sku}", {"item:a", "item:b"}),
        ("{items[].sku}:{items[].qty}:{id}", {"a:1:7", "b:2:7"}),
        ("first:{items[0].sku}", {"first:a"}),
        ("user:{{{id}}}:profile", {"user:{7}:profile"}),
        ("q:{q|trim|lower}", {"q:red hat"}),
        ("q:{q|trim|upper|first(3)}", {"q:RED"}),
        ("q:{q|trim|urlencode}", {"q:Red%20Hat"}),
        ("h:{id|md5}", {"h:" + hashlib.md5(b"7").hexdigest()}),
        ("h:{id|sha1|first(8)}", {"h:" + hashlib.sha1(b"7").hexdigest()[:8]}),
        ("h:{id | sha256}", {"h:" + hashlib.sha256(b"7").hexdigest()}),
        (
            "search:{'{q|trim|lower}:{id}'|md5|first(12)}",
            {"search:" + hashlib.md5(b"red hat:7").hexdigest()[:12]},
        ),
        ("j:{items[0]|json}", {'j:{"sku":"a","qty":1}'}),
        (
            "j:{items[0]|json(sorted)}",
            {'j:{"qty":2,"sku":"b"}'.replace("2", "1").replace("b", "a")},
        ),
        ("gone:{missing?}", set()),
        ("gone:{id}:{missing?}", set()),
        ("gone:{items[].colour?}", set()),
        ("gone:{lines[].sku?}", set()),
        ("d:{missing:-none}", {"d:none"}),
        ("d:{missing:-none|upper}", {"d:NONE"}),
        ("d:{missing|upper:-none}", {"d:NONE"}),
        ("d:{items[].colour:-red}", {"d:red"}),
        ("{data.id}", {"7"}),
        ('{data["id"]}', {"7"}),
        ("{event.type}:{event.source}", {"t:orders"}),
        ("fixed", {"fixed"}),
    ],
)
def test_a_template_gives(keys: Any, template: str, expected: set[str]) -> None:
    assert keys(template, ITEMS) == expected


def test_an_empty_list_gives_no_names_and_is_no_fault(keys: Any) -> None:
    assert keys("item:{items[].sku}", {"items": []}) == set()


def test_lists_in_lists_go_inside_each_other(keys: Any) -> None:
    data = {"orders": [{"id": 1, "lines": [{"n": "a"}, {"n": "b"}]}, {"id": 2, "lines": []}]}
    assert keys("{orders[].id}:{orders[].lines[].n}", data) == {"1:a", "1:b"}


def test_a_value_shared_with_an_empty_loop_is_still_there_for_the_next_template(
    rules: Any,
) -> None:
    ruleset = rules(
        """rules:
  - {name: r, on: t, invalidate: {keys: ["i:{id}:{items[].sku}", "o:{id}"]}}"""
    )
    assert names(plan(ruleset, {"type": "t", "id": 1, "items": []})).keys == {"o:1"}


def test_the_longest_way_through_a_template_compiles(keys: Any) -> None:
    value: Any = "x"
    for step in range(14):
        value = {"b": [value]} if step % 4 == 0 else {"b": value}
    path = "".join(".b[]" if step % 4 == 0 else ".b" for step in reversed(range(14)))
    template = f"{{'{{a{path}{'|md5' * 16}}}'{'|sha256' * 16}}}"
    assert len(keys(template, {"a": value})) == 1


@pytest.mark.parametrize("items", [None, {}, "ab", 5])
def test_what_is_no_list_is_rejected(rules: Any, items: Any) -> None:
    ruleset = rules('rules: [{name: r, on: t, invalidate: {keys: ["i:{items[].sku}"]}}]')
    [rejection] = plan(ruleset, {"type": "t", "items": items}).rejections
    assert rejection.faults[0].error in ("not-list", "null-field")


def test_max_keys_bounds_what_one_event_may_name(rules: Any) -> None:
    ruleset = rules(
        """rules:
  - {name: r, on: t, max_keys: 3, invalidate: {keys: ["i:{items[]}", "o:{id}"]}}"""
    )
    made = plan(ruleset, {"type": "t", "id": 1, "items": [1, 2]})
    assert names(made).keys == {"i:1", "i:2", "o:1"}
    for items in ([1, 2, 3], [1, 2, 3, 4]):
        [rejection] = plan(ruleset, {"type": "t", "id": 1, "items": items}).rejections
        assert rejection.faults[0].error == "too-many"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*", r"l:\*:*"),
        ("a?b", r"l:a\?b:*"),
        ("[x]", r"l:\[x\]:*"),
        ("\\", "l:\\\\:*"),
        ("plain-1", "l:plain-1:*"),
        (5, "l:5:*"),
    ],
)
def test_values_in_patterns_match_only_themselves(keys: Any, value: Any, expected: str) -> None:
    assert keys("l:{id}:*", {"id": value}, "patterns") == {expected}


def test_a_filter_that_leaves_nothing_rejects(keys: Any) -> None:
    with pytest.raises(AssertionError, match="empty-field"):
        keys("q:{q|trim}", {"q": "  "})


@pytest.mark.parametrize(
    ("template", "message", "offset"),
    [
        ("a}b", "a literal brace", 1),
        ("{", "expected the name of a field", 1),
        ("{a", "found the end of the text", 2),
        ("{a.}", "expected the name of a field", 3),
        ("{a|md6}", "did you mean md5", 3),
        ("{a|first}", "requires a number", 3),
        ("{a|first(0)}", "requires a number", 3),
        ("{a|lower(2)}", "takes no such argument", 3),
        ("{a:-}", "a default is not empty", 2),
        ("{a b}", "found b", 3),
        ("{'x", "the closing '", 1),
        ("{'a'?}", "inside the quotes", 0),
        ("{'a':-b}", "inside the quotes", 0),
        ("{event}", "write data.event", 1),
        ("{" + ".".join(["a[]"] * 5) + "}", "at most 32 steps, 4 of them through lists", 1),
        ("{a" + "[0]" * 40 + "}", "at most 32 steps", 1),
        ("{a" + "|md5" * 17 + "}", "at most 16 filters", 0),
        ("{'" * 5 + "x" + "'}" * 5, "more than 4 quoted texts", 9),
        ("{event.kind}", "an event has no kind", 1),
        ("{headers.a.b}", "holds texts by name", 1),
        ("{a[].x}:{b[].y}", "of another list", 9),
    ],
)
def test_a_wrong_template_says_what_and_where(template: str, message: str, offset: int) -> None:
    with pytest.raises(TemplateError, match=message) as caught:
        parse(template)
    assert caught.value.offset == offset


def test_a_value_of_several_segments_stays_one_with_the_filter_segment(
    keys: Any,
) -> None:
    assert keys("u:{a|segment}:{b}", {"a": "1:2%", "b": 3}) == {"u:1%3A2%25:3"}
    assert keys("u:{a|segment}", {"a": 7}) == {"u:7"}
