"""What looking up a sample of names costs, beside planning and applying the same batches.

python -m benchmarks.hits [--quick]
"""

import asyncio
import time
from collections.abc import Sequence
from statistics import median

import orjson

from benchmarks import plan
from benchmarks.options import sizes
from invalidator.model import Batch, Cause
from invalidator.pipeline.samples import Hits, Sampler
from invalidator.redisclient import client
from invalidator.rules import RuleSet
from invalidator.runtime.health import Health
from invalidator.runtime.metrics import SAMPLED
from invalidator.targets.redis.host import Host
from invalidator.targets.store import Store
from tests.backends.redis_server import RedisServer

EVENTS = 20_000  # a batch
LARGEST = 1 << 20


async def work(
    store: Store, rules: RuleSet, batch: Batch, hits: Hits | None, seconds: float
) -> float:
    """Events a second."""
    began, events, sampler = time.perf_counter(), 0, Sampler(LARGEST)
    while (now := time.perf_counter()) - began < seconds:
        planned = rules.plan(batch, max_event_bytes=LARGEST)
        sample = sampler.take(batch, rules)
        if hits:
            await hits.look_up(sample.aimed, rules)
        cause = Cause("memory", rules.hash)
        await store.application(planned.caches, rules.caches, cause).apply_names()
        events += batch.events
    return events / (now - began)


def looked_up() -> float:
    samples = (sample for metric in SAMPLED.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def compare(count: int, rounds: int, seconds: float, looks: int) -> None:
    rules = plan.rules(count)
    values = [orjson.dumps(plan.plain(at, "type0.updated")) for at in range(EVENTS)]
    batch = plan.batch(values, ())
    with RedisServer() as server:
        health, cache = Health(), client(server.url, 2.0)
        host = Host(cache, "redis", health.part("redis"), health.part("sweeps"))
        store, before = Store(host), looked_up()
        without, with_ = [], []
        for _ in range(rounds):
            without.append(await work(store, rules, batch, None, seconds))
            with_.append(await work(store, rules, batch, Hits(store), seconds))
        looked = (looked_up() - before) / (rounds * seconds)
        eager = Hits(store, share=1e9)
        costs = []
        for _ in range(looks):
            began = time.perf_counter()
            await eager.look_up(Sampler(LARGEST).take(batch, rules).aimed, rules)
            costs.append(time.perf_counter() - began)
        await store.close()
    rates = median(without), median(with_)
    print(
        f"{count:5} rules: a look {median(costs) * 1000:.1f} ms; {rates[0]:,.0f} events/s without, "
        f"{rates[1]:,.0f} with ({rates[1] / rates[0]:.3f}); {looked:,.0f} names looked up a second"
    )


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, rounds=(3, 1), seconds=(5.0, 0.1), looks=(50, 1))
    for count in (20, 1000):
        asyncio.run(compare(count, asked.rounds, asked.seconds, asked.looks))


if __name__ == "__main__":
    main()
