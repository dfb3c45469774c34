"""A cached function's key is the name that a rule renders, by the same code."""

import hashlib
import inspect
import json
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.cache import BadName
from invalidator.cache.render import Layout, renderer
from invalidator.errors import Rejected
from invalidator.rules import RuleSet, load
from tests.unit.rules.conftest import names, plan

LAYOUT = Layout("shop:", "invalidator:stamp:{tag}", "cache:version:{name}")


def _key(template: str, **arguments: Any) -> str:
    def function(a: Any = None, b: Any = None, c: Any = None, *, session: Any = None) -> None: ...

    return renderer(function, template, (), (), LAYOUT)(**arguments)[0]


class Status(Enum):
    OPEN = "open"
    SECOND = 2


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("template", "arguments", "key"),
    [
        ("order:single:{a}", {"a": "o1"}, "shop:order:single:o1"),
        ("o:{a}", {"a": 2**80}, f"shop:o:{2**80}"),
        ("o:{a}", {"a": True}, "shop:o:true"),
        ("o:{a}", {"a": UUID(int=7)}, f"shop:o:{UUID(int=7)}"),
        ("o:{a}:{b}", {"a": Status.OPEN, "b": Status.SECOND}, "shop:o:open:2"),
        ("o:{a|upper}", {"a": Colour.RED}, "shop:o:RED"),
        ("o:{a:-none}", {}, "shop:o:none"),
        ("s:{'{a|trim|lower}:{b}'|md5|first(4)}", {"a": " Q ", "b": 1}, "shop:s:2ba5"),
        ("f:{a|json(sorted)}", {"a": {"z": 1, "b": [2]}}, 'shop:f:{"b":[2],"z":1}'),
        ("f:{a.page}", {"a": {"page": 3}}, "shop:f:3"),
        ("{{{a}}}:x", {"a": "u"}, "shop:{u}:x"),
    ],
)
def test_a_key_is_rendered(template: str, arguments: dict[str, Any], key: str) -> None:
    key = key.replace("2ba5", hashlib.md5(b"q:1").hexdigest()[:4])
    assert _key(template, **arguments) == key


def test_a_filter_keeps_values_apart_that_contain_the_separator() -> None:
    keys = {_key("o:{a|urlencode}:{b}", a=a, b=b) for a, b in [("x:y", "z"), ("x", "y:z")]}
    assert len(keys) == 2


VALUES = st.one_of(st.text(), st.integers(), st.booleans(), st.none())
TEMPLATES = ["o:{a}:{b}", "{a|lower}:{b|urlencode}", "x:{a|trim|upper|first(9)}{b:-no}",
             "h:{'{a}/{b}'|sha256|first(12)}", "j:{a|json}:{b|sha1}"]  # fmt: skip


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RuleSet]:
    """A rule for each template."""
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    made = {}
    for template in TEMPLATES:
        rule = {"name": "r", "on": "t", "allow_broad": True, "invalidate": {"keys": [template]}}
        path.write_text(json.dumps({"rules": [rule]}))
        made[template] = load(path)
    return made


@given(a=VALUES, b=VALUES, template=st.sampled_from(TEMPLATES))
def test_a_service_and_a_rule_name_the_same_key(
    rules: dict[str, RuleSet], a: Any, b: Any, template: str
) -> None:
    try:
        mine = {_key(template, a=a, b=b).removeprefix("shop:")}
    except Rejected:
        mine = set()
    assert names(plan(rules[template], {"type": "t", "data": {"a": a, "b": b}})).keys == mine


def _bad(template: str, function: Callable[..., Any] | None = None, *tags: str) -> None:
    def plain(order_id: str, items: list[str]) -> None: ...

    renderer(function or plain, template, tags, (), LAYOUT)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("order:{oder_id}", "no argument is called oder_id; there are: order_id, items"),
        ("order:all", "names no argument"),
        ("order:{order_id?}", "always has a key"),
        ("order:{items[]}", "several names"),
        ("order:{order_id", "expected }"),
        ("order:{order_id|uper}", "did you mean upper"),
        ("order:{event.type}", "belongs to an event"),
    ],
)
def test_a_mistake_in_a_template_is_found_at_import(template: str, said: str) -> None:
    with pytest.raises(BadName, match=said):
        _bad(template)


def test_too_many_tags_are_found_at_import() -> None:
    with pytest.raises(BadName, match="more than 16"):
        _bad("o:{order_id}", None, *(f"t{n}:{{order_id}}" for n in range(17)))


@pytest.mark.parametrize("value", [None, "", "a\nb", 1.5, ["a"], b"x", "x" * 2000])
def test_a_value_that_names_nothing_is_rejected(value: Any) -> None:
    with pytest.raises(Rejected):
        _key("o:{a}", a=value)


def test_stamps_and_versions_are_named_and_an_optional_tag_is_left_out() -> None:
    def function(a: str, b: str | None) -> None: ...

    render = renderer(function, "o:{a}", ["c:{b?}", "o:{a}"], ["orders:{a}"], LAYOUT)
    key = ("invalidator:stamp:c:2", "invalidator:stamp:o:1", "cache:version:orders:1")
    assert render("1", "2") == ("shop:o:1", key)
    assert render("1", None) == ("shop:o:1", key[1:])


def test_arguments_are_bound_as_python_binds_them() -> None:
    def function(
        md5: str, /, v1: int = 3, *rest: int, n1: str, p0: object = 1, **more: int
    ) -> None: ...

    render = renderer(function, "{md5|md5|first(2)}:{v1}:{n1}", (), (), LAYOUT)
    assert render("x", n1="k", other=1)[0] == "shop:9d:3:k"
    assert render("x", 4, 5, n1="k")[0] == "shop:9d:4:k"
    for wrong in ((), ("x",)):
        with pytest.raises(TypeError):
            render(*wrong)
    assert inspect.signature(render).parameters["v1"].default == 3


def test_a_key_is_never_one_of_invalidators_own() -> None:
    def function(a: str) -> None: ...

    render = renderer(function, "{a}", (), (), Layout("", LAYOUT.stamp, LAYOUT.version))
    assert render("b")[0] == "b"
    with pytest.raises(Rejected, match="invalidator's own"):
        render("invalidator:dead")
