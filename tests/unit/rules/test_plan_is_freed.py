"""A plan is freed when its batch is done, not when the garbage collector runs."""

import gc
import weakref
from pathlib import Path

from invalidator.model import Batch, Names, Record, Slice
from invalidator.rules import load

RULES = """
version: 1
rules:
  - {name: a, on: x.y, when: n > 0, repeat_after: 1s, invalidate: {keys: ["k:{n}"], tags: ["t"]}}
"""


class Watched(Names, weakref=True):
    """Names that can be watched."""


def test_a_plan_is_freed_without_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    rules = load(path)
    values: list[bytes | None] = [b'{"type": "x.y", "data": {"n": 1}}', b"not json", b'{"n": 2}']
    part = Slice("o", values, lambda index: Record("memory", "o", str(index), values[index]))
    gc.collect()
    gc.disable()
    try:
        plan = rules.plan(Batch("memory", [part], 3, 0, None), max_event_bytes=1000)
        plan.caches["watched"] = watched = Watched()
        freed = weakref.ref(watched)
        del plan, watched
        assert freed() is None
    finally:
        gc.enable()
