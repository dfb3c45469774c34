"""RQ: a worker forks for each job, and all of them share entries.

python -m examples.rq_orders
rq worker --burst --url redis://127.0.0.1:6379/0
"""

import os

from redis import Redis
from rq import Queue

from invalidator.cache import SyncCache

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
cache = SyncCache.from_url(REDIS, prefix="shop:")


@cache.cached("report:{day}")
def get_report(day: str) -> dict[str, int]:
    print(f"loading {day}", flush=True)
    return {"orders": len(day)}


def report(day: str) -> int:
    return get_report(day)["orders"]


if __name__ == "__main__":
    from examples import rq_orders

    queue = Queue(connection=Redis.from_url(REDIS))
    for _ in range(3):
        print(queue.enqueue(rq_orders.report, "monday").id)
