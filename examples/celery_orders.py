"""Celery: tasks of all workers share entries, and each load.

celery -A examples.celery_orders worker
python -m examples.celery_orders
"""

import os
import time

from celery import Celery, group

from invalidator.cache import SyncCache

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("orders", broker=REDIS, backend=REDIS)
cache = SyncCache.from_url(REDIS, prefix="shop:")


@cache.cached("report:{day}")
def get_report(day: str) -> dict[str, int]:
    print(f"loading {day}", flush=True)
    time.sleep(0.1)  # stands for a database
    return {"orders": len(day)}


@app.task  # type: ignore[untyped-decorator]
def report(day: str) -> int:
    return get_report(day)["orders"]


if __name__ == "__main__":
    from examples import celery_orders  # the name by which workers know the task

    print(group(celery_orders.report.s("monday") for _ in range(20))().get(timeout=60))
