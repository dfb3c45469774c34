"""Say of an event's type that no rule matches: which rule nearly does, and what it would take."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from invalidator.rules.plan.event_types import Pattern, PatternTree, parse_pattern
from invalidator.rules.rule import Rule
from invalidator.runtime.text import closest

_BETWEEN: Final = re.compile(r"[-_.:/ ]+")


def near_miss(kind: str, rules: Iterable[Rule]) -> str:
    """Return what would match this type, such as `order.** would match`; or nothing."""
    patterns = [(rule.name, pattern) for rule in rules if rule.enabled for pattern in rule.on]
    for name, pattern in patterns:
        for wider in _wider(pattern):
            if _matches(wider, kind):
                return f"{wider.text} would match; {name} has {pattern.text}"
    written = {pattern.text: name for name, pattern in patterns if pattern.literal}
    plain = _BETWEEN.sub("", kind).lower()
    same = next((text for text in written if _BETWEEN.sub("", text).lower() == plain), "")
    near = same or closest(kind, written, cutoff=0.8)
    return f"{written[near]} has {near}" if near else ""


def _wider(pattern: Pattern) -> Iterator[Pattern]:
    """Yield patterns that match more: `order.**` for `order.*` and for `order.item.*`."""
    *begin, last = pattern.tokens
    if last.endswith("*") and not last.endswith("**") and begin:
        yield parse_pattern(f"{''.join(begin)}{last[:-1]}**")


def _matches(pattern: Pattern, kind: str) -> bool:
    tree = PatternTree()
    tree.add(pattern, (0, 0))
    return bool(tree.hits(kind))
