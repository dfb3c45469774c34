"""A condition as a function, for tests that look at its answers."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from invalidator.rules.condition.compile import roots_of, to_python
from invalidator.rules.condition.exact import decide
from invalidator.rules.condition.parser import parse
from invalidator.rules.condition.tree import Node


def function(condition: str | Node) -> Callable[[Mapping[str, Any]], bool]:
    """Compile a condition to a function of its roots' values, named as for `to_python`."""
    root = parse(condition) if isinstance(condition, str) else condition
    fragment = to_python(root, {name: f"roots[{name!a}]" for name in roots_of(root)})
    source = (
        "def condition(roots):\n"
        f"    try:\n        return {fragment.expression}\n"
        "    except Exception:\n        return decide(root, roots)\n"
    )
    scope = {**fragment.globals, "decide": decide, "root": root}
    exec(compile(source, "<condition>", "exec"), scope)
    return cast("Callable[[Mapping[str, Any]], bool]", scope["condition"])
