"""Starlette: the cache lives as long as the app, and a request finds it.

uvicorn examples.starlette_orders:app
"""

import os
from collections import Counter

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from invalidator.cache import Cache, Loaded
from invalidator.cache.starlette import cache_of, lifespan

cache = Cache.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), prefix="shop:")
TABLE = {"1": 5}  # stands for a database: order -> total
LOADS: Counter[str] = Counter()


async def order(request: Request) -> JSONResponse:
    order_id, of = request.path_params["order_id"], cache_of(request)
    if request.method == "PUT":
        TABLE[order_id] = int(request.query_params["total"])
        await of.invalidate(f"total:{order_id}")

    async def load(_: object) -> Loaded[int]:
        LOADS[order_id] += 1
        return Loaded(TABLE[order_id], ttl="1h")

    return JSONResponse(await of.get_or_load(f"total:{order_id}", load))


async def stats(_: Request) -> JSONResponse:
    return JSONResponse({"loads": LOADS})


routes = [Route("/orders/{order_id}", order, methods=["GET", "PUT"]), Route("/stats", stats)]
app = Starlette(routes=routes, lifespan=lifespan(cache))
