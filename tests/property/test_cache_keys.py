"""`.key()`, the rule of the same template and `explain --key` agree, whatever the values are."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from invalidator.cache import BadName, SyncCache
from invalidator.rules.explain.reach import reaching
from invalidator.templates.filters import TEXT_FILTERS
from tests.property.test_rules import made
from tests.unit.rules.conftest import plan

FILTERS = st.lists(st.sampled_from(sorted(TEXT_FILTERS)), max_size=2)
SLOTS = st.builds(
    lambda name, default, filters: "{" + "|".join([name + default, *filters]) + "}",
    st.sampled_from(["a", "b", "c.d"]),
    st.sampled_from(["", ":-none"]),
    FILTERS,
)
WORDS = st.text("abz:_-*?[]", max_size=6)
TEMPLATES = st.lists(WORDS | SLOTS, min_size=1, max_size=5).map("".join)
VALUES = (
    st.text(max_size=8)
    | st.text(":*?[]\\ab%", max_size=5)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.none()
)
CACHE = SyncCache.from_url("redis://127.0.0.1:1/0")


@given(TEMPLATES.map("k:{a}".__add__), VALUES, VALUES, VALUES)
@example("k:{a}", "invalidator:", None, None)
@example("k:{a}{c.d:-none|md5}", 1, None, None)
def test_all_name_the_same_key(template: str, a: Any, b: Any, d: Any) -> None:
    @CACHE.cached(template)
    def function(a: Any, b: Any, c: Any) -> int:
        return 0

    rule = {"name": "r", "on": "t", "allow_broad": True, "invalidate": {"keys": [template]}}
    rules = made(json.dumps({"rules": [rule]}))
    found = plan(rules, {"type": "t", "data": {"a": a, "b": b, "c": {"d": d}}})
    try:
        key = function.key(a, b, {"d": d})
    except BadName:
        assert found.rejections
        return
    assert found.caches["default"].keys == {key}
    assert [each.template for each in reaching(rules, key)] == [template]
