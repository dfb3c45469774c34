"""Conditions: `when:` of a rule, a subset of CEL, compiled to Python. See docs/conditions.md."""

from invalidator.errors import ConditionError, ConditionSyntaxError
from invalidator.rules.condition.compile import Fragment, to_python
from invalidator.rules.condition.parser import parse
from invalidator.rules.condition.tree import Node, Read, reads

__all__ = [
    "ConditionError",
    "ConditionSyntaxError",
    "Fragment",
    "Node",
    "Read",
    "parse",
    "reads",
    "to_python",
]
