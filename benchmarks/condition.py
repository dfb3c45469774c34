"""What one evaluation of a condition costs, without the call around it.

python -m benchmarks.condition
"""

import timeit
from collections.abc import Callable
from typing import Any

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
LOOPS = 100_000


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


def best(loop: Callable[[int], None]) -> float:
    return min(timeit.repeat(lambda: loop(LOOPS), number=1, repeat=7))


def main() -> None:
    for text in CONDITIONS:
        full, empty = compiled(text)
        print(f"{(best(full) - best(empty)) / LOOPS * 1e9:8.0f} ns  {text}")


if __name__ == "__main__":
    main()
