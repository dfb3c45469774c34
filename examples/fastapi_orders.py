"""FastAPI: the decorator stands on the service's function, and views are counted write-behind.

uvicorn examples.fastapi_orders:app
"""

import os
from collections import Counter
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException

from invalidator.cache import Cache
from invalidator.cache.behind import Flush, WriteBehind
from invalidator.cache.starlette import cache_of, lifespan

cache = Cache.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), prefix="shop:")
TABLE = {"1": 5}  # stands for a database: order -> total
LOADS: Counter[str] = Counter()
VIEWS: Counter[str] = Counter()


@cache.cached("order:single:{order_id}", tags=["orders:{order_id}"])
async def get_total(order_id: str) -> int | None:
    LOADS[order_id] += 1
    return TABLE.get(order_id)


async def add_views(flush: Flush) -> None:
    VIEWS.update(flush.rows)


views = WriteBehind(cache, "views", add_views, interval="200ms")
app = FastAPI(lifespan=lifespan(cache, views))


@app.get("/orders/{order_id}")
async def read_order(order_id: str) -> int:
    await views.write(order_id)
    total = await get_total(order_id)
    if total is None:
        raise HTTPException(404, f"no order {order_id}")
    return total


@app.put("/orders/{order_id}")
async def write_order(order_id: str, total: int) -> None:
    TABLE[order_id] = total
    await get_total.invalidate(order_id)


@app.post("/orders/{order_id}/drop")
async def drop_order(order_id: str, of: Annotated[Cache, Depends(cache_of)]) -> None:
    await of.invalidate_tags(f"orders:{order_id}")


@app.get("/stats")
async def stats() -> dict[str, Counter[str]]:
    return {"loads": LOADS, "views": VIEWS}
