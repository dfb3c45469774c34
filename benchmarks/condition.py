"""What one evaluation of a condition costs, without the call around it.

python -m benchmarks.condition [--quick]
"""

import timeit
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.options import sizes
from invalidator.rules.condition import parse, to_python

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


def compiled(text: str) -> tuple[Callable[[int], None], Callable[[int], None]]:
    """A loop around the condition, as a rule's function would hold it, and an empty one."""
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
    """Seconds each time."""
    return min(timeit.repeat(lambda: loop(times), number=1, repeat=7)) / times


def main(words: Sequence[str] | None = None) -> None:
    times = sizes(__doc__, words, times=(100_000, 100)).times
    for text in CONDITIONS:
        full, empty = compiled(text)
        print(f"{(best(full, times) - best(empty, times)) * 1e9:8.0f} ns  {text}")


if __name__ == "__main__":
    main()
