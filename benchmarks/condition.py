"""Measure one evaluation of a condition without the call around it, and hostile patterns.

python -m benchmarks.condition [--quick]
"""

import random
import time
import timeit
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.options import sizes
from invalidator.rules.condition import parse, to_python
from tests.conditions import function

EVENT: dict[str, Any] = {
    "status": "paid",
    "total": 129.5,
    "items": [{"sku": f"sku_{number}", "qty": number} for number in range(5)],
    "customer": {"id": "c_17", "tier": "gold"},
    "email": "someone@example.org",
}
BEFORE = {**EVENT, "status": "new"}
CONDITIONS = (
    'status != "draft"',
    "total > 100",
    'status in ["paid", "shipped"]',
    'has(customer.tier) && customer.tier == "gold"',
    'changed("status")',
    "items.exists(item, item.qty > 3)",
    'email.matches("^[a-z.]+@example[.]org$")',
    'missing == 1 || status == "paid"',
)
# With the right answers. An automaton that remembers all its states needs seconds for the last.
HOSTILE: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ('email.matches("(?i)[^a-z]")', {"email": "SOMEONE"}, False),
    ('email.matches("(a|b)*a(a|b){12}$")', {"email": "ab" * 4990 + "c"}, False),
    ('email.matches("a[ab]{200}c")', {}, False),
)


def compiled(text: str) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """Return a loop around the condition, as a rule's function holds it, and an empty one."""
    fragment = to_python(parse(text), {"data": "d", "before": "b", "after": "d"})
    body = "\n".join(f"        {line}" for line in fragment.assign("c"))
    source = f"def full(n, d, b):\n    for _ in range(n):\n{body}\n"
    source += "def empty(n, d, b):\n    for _ in range(n):\n        c = True\n"
    scope = dict(fragment.globals)
    exec(source, scope)
    return (
        lambda n: scope["full"](n, EVENT, BEFORE),
        lambda n: scope["empty"](n, EVENT, BEFORE),
    )


def best(loop: Callable[[int], None], times: int) -> float:
    """Return the seconds of one evaluation."""
    return min(timeit.repeat(lambda: loop(times), number=1, repeat=7)) / times


def hostile(text: str, event: dict[str, Any], expected: bool, count: int) -> str:
    """Return how long some events of 10 kB take, the longest and all together."""
    condition, letters = function(text), random.Random(0)  # the same texts each time
    took = []
    for _ in range(count):
        data = event or {"email": "".join(letters.choices("ab", k=10_000))}
        began = time.perf_counter()
        assert condition({"data": data}) is expected
        took.append((time.perf_counter() - began) * 1e3)
    return f"{sum(took):8.1f} ms for {count} events, {max(took):.1f} at most: {text}"


def main(words: Sequence[str] | None = None) -> None:
    times = sizes(__doc__, words, times=(100_000, 100)).times
    for text in CONDITIONS:
        full, empty = compiled(text)
        print(f"{(best(full, times) - best(empty, times)) * 1e9:8.0f} ns  {text}")
    for text, event, expected in HOSTILE:
        print(hostile(text, event, expected, 20 if times > 100 else 2))


if __name__ == "__main__":
    main()
