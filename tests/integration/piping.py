"""A pipeline around a source in memory and real Redis servers, for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis

from invalidator.deadletters import DeadLetters
from invalidator.pipeline.inflight import InFlight, Limits
from invalidator.pipeline.pipeline import Pipeline
from invalidator.pipeline.reject_brake import RejectBrake
from invalidator.pipeline.samples import Hits
from invalidator.pipeline.verifier import NoVerifier, Verifier
from invalidator.redisclient import client
from invalidator.rules import RuleSet, load
from invalidator.runtime.health import Health
from invalidator.targets.redis.host import Host
from invalidator.targets.store import Store
from tests.memory_source import MemorySource

AllowKeys = Callable[..., None]

LIMITS = Limits(events=1000, event_bytes=10_000)
RULES = """
version: 1
rules:
  - name: order-changed
    on: order.updated
    invalidate: {keys: ["order:single:{orderId}", "orders:count:{customerId}"]}
  - name: order-audit
    on: order.updated
    invalidate: {keys: ["audit:{orderId}"]}
"""


def event(kind: str = "order.updated", **data: object) -> bytes:
    return orjson.dumps({"type": kind, "data": data})


def order(number: object) -> bytes:
    return event(orderId=f"o{number}", customerId="c")


def rules_from(text: str, folder: Path) -> RuleSet:
    path = folder / "rules.yaml"
    path.write_text(text)
    return load(path)


@dataclass
class Bench:
    """What a test holds in its hands."""

    source: MemorySource
    pipeline: Pipeline
    health: Health
    in_flight: InFlight
    rules: RuleSet  # a test may put others in their place
    running: "asyncio.Task[None]" = field(init=False)


@asynccontextmanager
async def piping(
    rules: RuleSet,
    cache_url: str,
    *,
    state_url: str = "",
    source: MemorySource | None = None,
    in_flight: InFlight | None = None,
    limits: Limits = LIMITS,
    timeout: float = 0.5,
    health: Health | None = None,
    store: Store | None = None,
    gate: str = "redis",
    hits: Callable[[Store], Hits] = Hits,
    verifier: Callable[[Store], Verifier] = lambda _: NoVerifier(),
    brake: bool = False,
    dead: DeadLetters | None = None,
) -> AsyncIterator[Bench]:
    """A pipeline that runs; at the end it is stopped, and what it still has is given up."""
    health = health or Health()
    cache, state = client(cache_url, timeout), client(state_url or cache_url, timeout)
    made = source or MemorySource()
    bound = in_flight or InFlight(10_000, 1 << 24)
    store = store or Store(Host(cache, "the cache", health.part("redis"), health.part("sweeps")))
    running = asyncio.create_task(store.run())
    bench: Bench
    pipeline = Pipeline(
        made,
        lambda: bench.rules,
        store,
        dead or DeadLetters(state, "the state"),
        in_flight=bound,
        limits=limits,
        health=health,
        gate=gate,
        hits=hits(store),
        verifier=verifier(store),
        brake=RejectBrake(made, health.part("rules", server=False)) if brake else None,
    )
    bench = Bench(made, pipeline, health, bound, rules)
    bench.running = asyncio.create_task(pipeline.run())
    try:
        yield bench
        pipeline.stop()
        await asyncio.wait({bench.running}, timeout=60)
        if bench.running.done():
            bench.running.result()
    finally:
        for task in (bench.running, running):
            task.cancel()
        await asyncio.wait({bench.running, running})
        await cache.aclose()
        await state.aclose()


def run(now: "redis.Redis", *words: str | bytes) -> None:
    """A command that the client has no method for."""
    client: Any = now  # its own signature is untyped
    client.execute_command(*words)


@contextmanager
def looking(url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(url, protocol=2) as found:
        yield found


def count_keys(now: "redis.Redis", glob: str = "*") -> int:
    client: Any = now  # its own signature is untyped
    found: int = client.eval("return #redis.call('KEYS', ARGV[1])", 0, glob)
    return found


def dead_letters(now: "redis.Redis") -> list[dict[str, Any]]:
    """The entries, decoded; `faults` and `headers` are JSON."""
    entries: Any = now.xrange("invalidator:dead")
    return [_decoded(fields) for _, fields in entries]


def _decoded(fields: dict[bytes, bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name.decode(): value.decode(errors="backslashreplace") for name, value in fields.items()
    }
    found["raw"] = fields.get(b"raw")
    found["faults"] = orjson.loads(fields[b"faults"])
    found["headers"] = orjson.loads(fields[b"headers"])
    return found
