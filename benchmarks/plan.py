"""Measure what planning an event costs, JSON included, and what decoding alone costs.

python -m benchmarks.plan [--quick]
"""

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks.options import sizes
from invalidator.model import Batch, Record, Slice
from invalidator.rules import RuleSet, load

TWO_KEYS = '["order:single:{orderId}", "orders:count:{customerId}"]'


def rules(count: int, keys: str = TWO_KEYS, extra: str = "") -> RuleSet:
    lines = (
        f"  - {{name: r{at}, on: type{at}.updated, {extra}invalidate: {{keys: {keys}}}}}"
        for at in range(count)
    )
    return written(*lines)


def written(*lines: str) -> RuleSet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.yaml")
        path.write_text("\n".join(["rules:", *lines]))
        return load(path)


def change_rules() -> RuleSet:
    return written(f"  - {{name: r, on: orders.updated, invalidate: {{keys: {TWO_KEYS}}}}}")


def plain(at: int, kind: str) -> dict[str, Any]:
    data = {"orderId": f"ord_{at}", "customerId": at % 500, "status": "paid"}
    return {"type": kind, "id": f"evt-{at}", "data": data}


def change(at: int, _: str) -> dict[str, Any]:
    row = {"orderId": f"ord_{at}", "customerId": at % 500, "status": "paid"}
    before = {**row, "customerId": at % 400}
    return {"op": "u", "before": before, "after": row, "source": {"table": "orders"}}


def batch(values: list[bytes], headers: Sequence[tuple[tuple[str, bytes], ...]]) -> Batch:
    def record(index: int) -> Record:
        around = headers[index] if headers else ()
        return Record("memory", "orders", str(index), values[index], headers=around)

    part = Slice("orders", list(values), record, headers)
    return Batch("memory", [part], len(values), sum(map(len, values)), None)


def decode(values: list[bytes]) -> None:
    loads = orjson.loads
    for value in values:
        loads(value)


def timed(work: Callable[[], object]) -> int:
    """Return the nanoseconds of CPU time."""
    begin = time.process_time_ns()
    work()
    return time.process_time_ns() - begin


def measured(
    count: int,
    rounds: int,
    title: str,
    ruleset: RuleSet,
    kind: Callable[[int], str],
    event: Callable[[int, str], dict[str, Any]] = plain,
    *,
    binary: bool = False,
) -> None:
    events = [event(at, kind(at)) for at in range(count)]
    values = [orjson.dumps(entry["data"] if binary else entry) for entry in events]
    headers = [(("ce_type", entry["type"].encode()),) for entry in events] if binary else []
    work = batch(values, headers)
    made = ruleset.plan(work, max_event_bytes=1 << 20)
    assert not made.rejections, made.rejections[0]
    # The two take turns: a ratio of their bests holds however busy the machine is.
    decoded, planned = [], []
    for _ in range(rounds):
        decoded.append(timed(lambda: decode(values)))
        planned.append(timed(lambda: ruleset.plan(work, max_event_bytes=1 << 20)))
    total, least = min(planned) / count, min(decoded) / count
    print(f"{title:42} {total:7.0f} ns/event; orjson.loads alone {least:6.0f}")


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, events=(20_000, 200), rounds=(15, 1))
    gc.freeze()
    gc.disable()
    try:
        workloads(partial(measured, asked.events, asked.rounds))
    finally:
        gc.enable()
        gc.unfreeze()


def workloads(measure: Callable[..., None]) -> None:
    twenty = rules(20)
    measure("a rule of two keys among 20", twenty, lambda at: f"type{at % 20}.updated")
    measure("10 rules", rules(10), lambda at: f"type{at % 10}.updated")
    measure("1000 rules", rules(1000), lambda at: f"type{at % 1000}.updated")
    status = rules(20, extra="when: 'status != \"draft\"', ")
    measure("with a condition", status, lambda at: f"type{at % 20}.updated")
    patterns = rules(
        20, keys='["a:{orderId}"], patterns: ["l:{customerId}:*"], tags: ["g:{orderId}"]'
    )
    measure("a key, a pattern and a tag", patterns, lambda at: f"type{at % 20}.updated")
    measure("no rule names the type", twenty, lambda at: f"other{at % 50}.updated")
    measure("a new unmatched type each time", twenty, lambda at: f"other{at}.updated")
    measure("change events, new and old row", change_rules(), lambda _: "", change)
    measure("CloudEvents in binary mode", twenty, lambda at: f"type{at % 20}.updated", binary=True)


if __name__ == "__main__":
    main()
