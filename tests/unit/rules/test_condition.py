"""The answers of conditions, and their failures."""

from typing import Any

import pytest

from invalidator.rules.condition import ConditionError, Fragment, Read, parse, reads, to_python
from invalidator.rules.condition import runtime as bounds
from tests.conditions import function

DATA: dict[str, Any] = {
    "status": "paid",
    "total": 12,
    "price": 9.5,
    "whole": 3.0,
    "zero": 0,
    "one": 1,
    "yes": True,
    "no": False,
    "nothing": None,
    "max": 2**63 - 1,
    "min": -(2**63),
    "unsigned": 2**64 - 1,
    "nan": float("nan"),
    "name": "Zoë🎉",
    "tags": ["new", "sale"],
    "numbers": [1, 2, 3],
    "mixed": ["a", 1, None, True],
    "empty": [],
    "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 5, "gift": True}],
    "customer": {"id": "c1", "tier": "gold", "address": {"city": "Oslo"}},
    "data": "a field named data",
    "order-id": 7,
    "__class__": "a field like any other",
    "in": 1,
}
ROOTS = {
    "data": DATA,
    "event.type": "order.updated",
    "event.id": "e1",
    "event.subject": None,
    "event.extensions": {"tenant": "t1"},
    "headers": {"content-type": "application/json", "retry": "1"},
    "match": {"id": "42"},
}


def holds(text: str, roots: dict[str, Any] = ROOTS) -> bool:
    return function(text)(roots)


TRUE = r"""
status == "paid"
status != "draft"
"paid" == status
status == 'paid' && total == 12
status in ["paid", "shipped"]
status in ["a", "b", "c", "d", "e", "f", "g", "h", "paid"]
!(total in ["a", "b", "c", "d", "e", "f", "g", "h", "paid"])
!(tags in ["a", "b", "c", "d", "e", "f", "g", "h", "paid"])
status in tags || true
"sale" in tags
"tier" in customer
!("other" in customer)
!(1 in customer)
null in mixed
true in mixed
1 in [1.0, 2.0]
!(yes in [1])
!(yes in [1, 2])
!(one in [true])
one in [1, 2]
total in [12, 13]
nothing in [null, "a"]

total > 10
total >= 12 && total <= 12
10 < total
price < 10
whole == 3
3 == whole
total == 12.0
one == 1
one != true
one != yes
yes != 1
!(yes == 1)
zero != false
zero == 0.0
no == false
no != 0
nothing == null
null == nothing
total != null
nothing != false
nothing != 0
status != 5
status != null
"a" < "b"
"a" < "é"
status > "draft"
no < yes
max == 9223372036854775807
max > 9007199254740992.0
max < 9223372036854775808.0
unsigned > max
nan != nan
!(nan < 1.0)
!(nan in [nan])

total + 1 == 13
total - 13 == -1
total * 2 == 24
total / 5 == 2
-7 / 2 == -3
7 / -2 == -3
-7 % 3 == -1
7 % -3 == 1
-total == -12
--total == 12
price + 1 == 10.5
price * 2 == 19.0
total / 5.0 == 2.4
1.0 / 0.0 > 1e300
-1.0 / 0.0 < -1e300
0.0 / 0.0 != 0.0
2 + 3 * 4 == 14
(2 + 3) * 4 == 20
10 - 2 - 3 == 5
"a" + "b" == "ab"
tags + ["x"] == ["new", "sale", "x"]
-9223372036854775808 == min
0x1F == 31
1e3 == 1000
.5 == 0.5

yes && !no
no || yes
yes ? yes : missing
no ? missing : yes
total > 5 ? status == "paid" : false
1 == 1 == true
has(customer.tier)
has(status)
!has(missing)
has(nothing)
has(data.status)
has(data["order-id"])
has(items[0].sku)
has(customer.address.city)
!has(customer.address.zip)
has(event.id)
!has(event.subject)
event.subject == null
has(event.extensions.tenant)
has(headers["content-type"])

customer.address.city == "Oslo"
customer["tier"] == "gold"
items[1].sku == "b"
items[0]["qty"] == 1
numbers[total - 12] == 1
data.status == "paid"
data["order-id"] == 7
data.data == "a field named data"
data.in == 1
__class__ == "a field like any other"
event.type == "order.updated"
event.extensions.tenant == "t1"
headers.retry == "1"
match.id == "42"

status.startsWith("pa")
status.endsWith("id")
status.contains("ai")
!status.contains("x")
status.matches("^p[a-z]+$")
size(status) == 4
status.size() == 4
size(name) == 4
size(tags) == 2 && tags.size() == 2
size(customer) == 3
size(data) > 5

items.exists(item, item.qty > 3)
items.all(item, item.qty > 0)
items.exists_one(item, item.sku == "a")
size(items.filter(item, item.qty > 3)) == 1
items.filter(item, item.qty > 3)[0].sku == "b"
items.exists(item, has(item.gift) && item.gift)
!empty.exists(x, true)
empty.all(x, false)
numbers.exists(x, numbers.exists(y, x + y == 6))
customer.exists(key, key == "tier")
numbers.exists(total, total == 3) && total == 12
mixed.exists(x, x == 1)
[1, 2].exists(x, x == 2)
numbers.all(x, [1, 2, 3].exists(y, y == x))

[] == empty
[1, 2, 3,] == numbers
[1.0, 2.0, 3.0] == numbers
[true] != [1]
customer == customer
items[0] != items[1]
[[1], "a"] == [[1.0], "a"]

"\x41\u00e9\U0001F389\101\n\t\\\"\'\?\`" == "A\u00e9🎉A\n\t\\\"'?`"
r"\d" == "\\d"
'''it's "so"''' == "it's \"so\""
status == "paid" // the rest of a line is a comment
"""


@pytest.mark.parametrize("text", [line for line in TRUE.splitlines() if line])
def test_it_holds(text: str) -> None:
    assert holds(text) is True
    assert holds(f"!({text}\n)") is False


@pytest.mark.parametrize(
    "text",
    [
        # CEL: one side that decides makes an error on the other irrelevant, in either order.
        "missing == 1 || status == 'paid'",
        "status == 'paid' || missing == 1",
        "!(missing && no)",
        "!(no && missing)",
        "missing || no || yes",
        "mixed.exists(x, x == true) && mixed.exists(x, x > 0)",
        "!mixed.all(x, x > 5)",
        "nothing.a || customer.tier == 'gold'",
        "status && no || yes",
    ],
)
def test_an_error_beside_the_side_that_decides_does_not_matter(text: str) -> None:
    assert holds(text) is True


FAILURES = [
    ("missing == 1", "no field 'missing'", "missing"),
    ("missing || no", "no field 'missing'", "missing"),
    ("no || missing.a", "no field 'missing'", "missing"),
    ("customer.age > 5", "no field 'customer.age'", "customer.age"),
    ("customer.address.zip == '1'", "no field 'customer.address.zip'", "customer.address.zip"),
    ("nothing.a == 1", "'nothing' is null and has no field 'a'", "nothing.a"),
    ("status.length == 4", "'status' is a string and has no field 'length'", "status.length"),
    ("tags.first == 'a'", "'tags' is a list and has no field 'first'", "tags.first"),
    ("has(missing.a)", "no field 'missing'", "missing"),
    ("has(status.a)", "'status': a string has no fields", "status"),
    ("items.all(i, i.gift)", "no field 'i.gift'", "i.gift"),
    ("total && yes", "'total': must be true or false, was an integer", "total"),
    ("status", "'status': must be true or false, was a string", "status"),
    ("!nothing", "'nothing': must be true or false, was null", "nothing"),
    ("status ? yes : no", "'status': must be true or false, was a string", "status"),
    ("items.exists(i, i.qty)", "'i.qty': must be true or false, was an integer", "i.qty"),
    ("status < 5", "'status': '<' between a string and an integer", "status"),
    ("status > 'b' && total < 'b'", "'total': '<' between an integer and a string", "total"),
    ("yes < 5", "'yes': '<' between a boolean and an integer", "yes"),
    ("5 >= yes", "'yes': '>=' between an integer and a boolean", "yes"),
    ("nothing < nothing", "'nothing': '<' between null and null", "nothing"),
    ("tags <= tags", "'tags': '<=' between a list and a list", "tags"),
    ("tags[2] == 'a'", "'tags[2]': no element 2 in a list of 2", "tags[2]"),
    ("tags[-1] == 'a'", "'tags[-1]': no element -1 in a list of 2", "tags[-1]"),
    ("tags[yes] == 'a'", "the index of a list must be an integer, was a boolean", ""),
    ("status[0] == 'p'", "'status[0]': a string has no elements", "status[0]"),
    ("customer[total] == 1", "no field '12'", ""),
    ("'a' in status", "'status': 'in' needs a list or an object, was a string", "status"),
    ("null in customer", "'customer': null cannot be the name of a field", "customer"),
    ("price in customer", "'customer': a float cannot be the name of a field", "customer"),
    ("status.exists(c, true)", "'status': needs a list or an object, was a string", "status"),
    ("total + 'a' == ''", "'total': '+' between an integer and a string", "total"),
    ("yes + 1 == 2", "'yes': '+' between a boolean and an integer", "yes"),
    ("-yes == -1", "'yes': '-' needs a number, was a boolean", "yes"),
    ("price % 2 == 1", "'price': '%' between a float and an integer", "price"),
    ("total / 0 == 1", "'total': division by zero", "total"),
    ("total % 0 == 1", "'total': division by zero", "total"),
    ("max + 1 > 0", "'max': the result does not fit into 64 bits", "max"),
    ("min - 1 < 0", "'min': the result does not fit into 64 bits", "min"),
    ("max * max > 0", "'max': the result does not fit into 64 bits", "max"),
    ("-min > 0", "'min': the result does not fit into 64 bits", "min"),
    ("min / -1 > 0", "'min': the result does not fit into 64 bits", "min"),
    ("min % -1 == 0", "'min': the result does not fit into 64 bits", "min"),
    ("total.startsWith('1')", "'total': startsWith() needs strings, was an integer", "total"),
    ("status.endsWith(total)", "'total': endsWith() needs strings, was an integer", "total"),
    ("tags.contains('new')", "'tags': contains() needs strings, was a list", "tags"),
    ("nothing.matches('a')", "'nothing': matches() needs a string", "nothing"),
    ("size(total) > 0", "'total': size() needs a string, a list or an object, was an integer",
     "total"),
    ("changed('status')", "this event has no 'before'", "before"),
    ("event.source == 'a'", "this event has no 'event.source'", "event.source"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "path"), FAILURES)
def test_a_failure_names_the_field_to_blame(text: str, message: str, path: str) -> None:
    with pytest.raises(ConditionError) as caught:
        holds(text)
    assert caught.value.message == message
    assert caught.value.path == path


def change(before: Any, after: Any, text: str = 'changed("status")') -> bool:
    return holds(text, {"data": after or before, "before": before, "after": after})


def test_changed_compares_the_two_rows() -> None:
    assert change({"status": "a"}, {"status": "b"})
    assert not change({"status": "a", "n": 1}, {"status": "a", "n": 2})
    assert not change({"status": 1}, {"status": 1.0})
    assert change({"status": 1}, {"status": True})
    assert change({"a": {"b": 1}}, {"a": {"b": 2}}, 'changed("a.b")')
    assert not change({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, 'changed("a.b")')
    assert change({"status": "a"}, {"status": "b"}, 'before.status == "a" && after.status == "b"')


def test_a_field_that_only_one_row_has_counts_as_changed() -> None:
    assert change(None, {"status": "a"}), "created"
    assert change({"status": "a"}, None), "deleted"
    assert change({"id": 1}, {"id": 1, "status": "a"}), "a row before with only its key"


def test_debezium_s_placeholder_for_a_large_column_means_unchanged() -> None:
    placeholder = bounds.PLACEHOLDER
    assert not change({"status": "a"}, {"status": placeholder})
    assert not change(None, {"status": placeholder})
    assert change({"status": placeholder}, {"status": "a"})


def test_changed_fails_where_neither_row_has_the_field() -> None:
    with pytest.raises(ConditionError, match="no field 'status' before or after"):
        change({"id": 1}, {"id": 1})
    with pytest.raises(ConditionError, match="needs an event with 'before' or 'after'"):
        change(None, None)


def test_loops_and_what_plus_makes_are_bounded() -> None:
    many = {"data": {"l": list(range(1000)), "s": "a" * 600_000}}
    assert holds("l.exists(x, x == 999)", many)
    with pytest.raises(ConditionError, match="would visit 1000000 elements"):
        holds("l.exists(x, l.exists(y, x + y == -1))", many)
    with pytest.raises(ConditionError, match="would visit 1000000 elements"):
        holds("l.exists(x, -1 in l)", many)
    with pytest.raises(ConditionError, match="larger than 1000000"):
        holds("s + s == s", many)


def test_data_nested_deeper_than_python_recurses_are_a_failure() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ConditionError, match="nested too deep"):
        holds("a == b", {"data": {"a": deep, "b": [deep]}})


def fragments(*texts: str) -> list[Fragment]:
    return [to_python(parse(text), {"data": "d", "headers": "h()"}) for text in texts]


def test_fragments_combine_in_one_function() -> None:
    parts = fragments('status == "paid"', 'headers.retry.matches("^1")', "items.all(i, i.qty < 9)")
    lines = ["def plan(d, h):", " answers = []"]
    names: dict[str, Any] = {}
    for part in parts:
        lines += [f" {line}" for line in (*part.assign("c"), "answers.append(c)")]
        names.update(part.globals)
    exec("\n".join([*lines, " return answers"]), names)
    assert names["plan"](DATA, lambda: {"retry": "1"}) == [True, True, True]


def test_equal_names_in_fragments_mean_equal_things() -> None:
    known: dict[str, Any] = {}
    texts = ('a.matches("x") && b < c', 'a.matches("y") && c < b', 'a.matches("x") || b == c')
    for part in fragments(*texts, *texts):
        for name, value in part.globals.items():
            assert name.startswith("_c_")
            if name.startswith(("_c_search", "_c_exact")):
                known.setdefault(name, value)
            else:
                assert known.setdefault(name, value) is value
    assert len([name for name in known if name.startswith("_c_search")]) == 2


def test_simple_conditions_become_plain_python() -> None:
    sources = [part.expression for part in fragments("s != 'a'", "n == 5", "s in ['a', 'b']")]
    assert sources == ["(not (d['s'] == 'a'))", "(d['n'] == 5)", "(d['s'] in ('a', 'b', ))"]


HOSTILE = [
    "__import__",
    "__class__",
    "__builtins__",
    "d",
    "_c_equal",
    "True",
    "None",
    "lambda_",
    "exec",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_never_more_than_a_key(name: str) -> None:
    assert holds(f"{name} == 1", {"data": {name: 1}})
    with pytest.raises(ConditionError, match=f"no field '{name}'"):
        holds(f"{name} == 1", {"data": {}})
    assert holds(f"[1].exists({name}, {name} == 1)", {"data": {}})


STRINGS = ["'", '"', "\\", "\n", "')] or exec('x')", "{0}", "%s", "\x00", "\u2028", "é", "\ud800"]


@pytest.mark.parametrize("value", STRINGS)
def test_a_string_is_never_more_than_a_value(value: str) -> None:
    escaped = "".join(f"\\U{ord(c):08x}" if c != "\ud800" else c for c in value)
    for quote in "\"'":
        literal = f"{quote}{escaped}{quote}"
        assert holds(f"a == {literal}", {"data": {"a": value}})
        assert holds(f"data[{literal}] == 1", {"data": {value: 1}})
        assert holds(f"has(data[{literal}])", {"data": {value: 1}})
        assert holds(f"a in [{literal}, {literal}]", {"data": {"a": value}})
        if "." not in value:
            assert change({value: 1}, {value: 2}, f"changed({literal})")


def test_reads_lists_every_path_with_its_column() -> None:
    text = (
        'customer.tier == "a" && changed("x.y") && items.exists(i, i.sku == headers["k"])'
        " && has(before.id) && event.type == numbers[total]"
    )
    assert reads(parse(text)) == (
        Read("data", ("customer", "tier"), 1),
        Read("before", ("x", "y"), 25),
        Read("after", ("x", "y"), 25),
        Read("data", ("items",), 43),
        Read("data", ("items", "[]", "sku"), 59),
        Read("headers", ("k",), 68),
        Read("before", ("id",), 85),
        Read("event", ("type",), 103),
        Read("data", ("numbers", "[]"), 117),
        Read("data", ("total",), 125),
    )
