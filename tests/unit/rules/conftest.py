"""Rules from text, and batches from plain Python values."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from invalidator.model import Batch, Names, Plan, Record, Slice
from invalidator.rules import RuleSet, load
from invalidator.rules.plan.draft import Draft
from invalidator.rules.plan.fast_path import Form

LIMIT = 100_000
Headers = Sequence[tuple[str, bytes]]


def batch(
    *events: Any, origin: str = "orders", key: bytes | None = None, headers: Headers = ()
) -> Batch:
    values = [
        event if isinstance(event, bytes | type(None)) else json.dumps(event).encode()
        for event in events
    ]

    def record(index: int) -> Record:
        return Record("memory", origin, str(index), values[index], key, tuple(headers))

    return Batch("memory", [Slice(origin, values, record)], len(values), 0, None)


def plan(ruleset: RuleSet, *events: Any, **around: Any) -> Plan:
    return ruleset.plan(batch(*events, **around), max_event_bytes=LIMIT)


@contextmanager
def slow_path(ruleset: RuleSet, origin: str = "orders") -> Iterator[list[int]]:
    """Collect the indexes of the events that take the slow path meanwhile."""
    path, taken = ruleset.engine(origin).fast_path, list[int]()
    usual = path.fallback

    def fallback(part: Slice, index: int, limit: int, draft: Draft) -> Form | None:
        taken.append(index)
        return usual(part, index, limit, draft)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path, "fallback", fallback)
        yield taken


def names(made: Plan, cache: str = "default") -> Names:
    return made.caches.get(cache, Names())


def faults(made: Plan) -> list[tuple[str | None, str]]:
    """Return the rule and error word of each fault."""
    return [(fault.rule, fault.error) for entry in made.rejections for fault in entry.faults]


@pytest.fixture
def rules(tmp_path: Path) -> Callable[[str], RuleSet]:
    def make(text: str) -> RuleSet:
        path = tmp_path / "rules.yaml"
        path.write_text(text)
        return load(path)

    return make


@pytest.fixture
def keys(rules: Callable[[str], RuleSet]) -> Callable[..., set[str]]:
    """Return the keys that one template gives for one event."""

    def make(template: str, event: dict[str, Any], kind: str = "keys") -> set[str]:
        quoted = json.dumps(template)
        ruleset = rules(
            f"rules: [{{name: r, on: t, allow_broad: true, invalidate: {{{kind}: [{quoted}]}}}}]"
        )
        made = plan(ruleset, {"type": "t", "data": event})
        if made.rejections:
            raise AssertionError([fault.error for fault in made.rejections[0].faults])
        found: set[str] = getattr(names(made), kind)
        return found

    return make
