"""A service that reads orders through invalidator.cache, and publishes an event for each change.

PUT  /orders/ID                  {"total": 5, "customerId": "c7"}: commits, publishes order.updated
GET  /orders/ID                  the order as JSON; the header X-Cache says hit or miss
GET  /customers/ID/orders/count  how many orders a customer has, also from the cache
GET  /orders/ID/views            how often an order was read, as PostgreSQL knows it
GET  /healthz                    200

It never deletes what it cached: the daemon does, by the rules.yaml beside this file, and purges
pages at the edge. Views are counted write-behind.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, HTTPException, Request, Response
from msgspec import Struct
from psycopg_pool import AsyncConnectionPool

from invalidator.cache import Cache, Kind, Kinds
from invalidator.cache.behind import Flush, WriteBehind
from invalidator.cache.http import CacheHeaders
from invalidator.cache.starlette import lifespan

DATABASE = os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1/postgres")
REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
BROKERS = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
TOPIC = os.environ.get("TOPIC", "domain-events")
TABLES = """
    CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, customer text, total bigint);
    CREATE TABLE IF NOT EXISTS views (order_id text PRIMARY KEY, count bigint);
    CREATE TABLE IF NOT EXISTS flushes (token text PRIMARY KEY, at timestamptz DEFAULT now());
"""


class Order(Struct, rename="camel"):
    order_id: str
    customer_id: str
    total: int


class Change(Struct, rename="camel"):
    customer_id: str
    total: int


kinds = Kinds(order=Kind(ttl="1h", stale_if_error="1h"), count=Kind(ttl="10m"))
cache = Cache.from_url(REDIS, kinds=kinds)
database = AsyncConnectionPool(DATABASE, open=False)


@cache.cached("order:single:{order_id}", kind="order")
async def get_order(order_id: str, *, headers: dict[str, str]) -> Order | None:
    """Load an order; headers of the response are no part of the key."""
    headers["X-Cache"] = "miss"
    found = await rows("SELECT id, customer, total FROM orders WHERE id = %s", order_id)
    return Order(*found[0]) if found else None


@cache.cached("orders:count:{customer_id}", kind="count")
async def count_orders(customer_id: str) -> int:
    ((count,),) = await rows("SELECT count(*) FROM orders WHERE customer = %s", customer_id)
    return int(count)


async def add_views(flush: Flush) -> None:
    """Add what was counted, in one transaction with the token by which a repetition is known."""
    once = "INSERT INTO flushes VALUES (%s) ON CONFLICT DO NOTHING"
    add = """
        INSERT INTO views SELECT * FROM unnest(%s::text[], %s::bigint[])
        ON CONFLICT (order_id) DO UPDATE SET count = views.count + excluded.count
    """
    async with database.connection() as connection:
        if (await connection.execute(once, [flush.token])).rowcount:
            await connection.execute(add, [list(flush.rows), list(flush.rows.values())])


async def rows(query: str, *args: object) -> list[Any]:
    async with database.connection() as connection:
        return await (await connection.execute(query, args)).fetchall()


views = WriteBehind(cache, "views", add_views, interval="1s")


@asynccontextmanager
async def living(app: FastAPI) -> AsyncIterator[None]:
    producer = AIOKafkaProducer(bootstrap_servers=BROKERS, acks="all")
    async with database, producer:
        async with database.connection() as connection:
            await connection.execute(TABLES)
        app.state.producer = producer
        async with lifespan(cache, views)(app):
            yield


app = FastAPI(lifespan=living)
app.add_middleware(CacheHeaders, header="xkey", max_age=0)  # browsers ask again, the edge is purged


@app.get("/orders/{order_id}")
async def read_order(order_id: str) -> Response:
    await views.write(order_id)
    headers = {"X-Cache": "hit"}
    order = await get_order(order_id, headers=headers)
    if order is None:
        raise HTTPException(404, f"no order {order_id}")
    return Response(msgspec.json.encode(order), headers=headers, media_type="application/json")


@app.put("/orders/{order_id}")
async def write_order(order_id: str, request: Request) -> Response:
    try:
        change = msgspec.json.decode(await request.body(), type=Change)
    except msgspec.MsgspecError as error:
        raise HTTPException(400, f"expected customerId and total: {error}") from None
    order = Order(order_id, change.customer_id, change.total)
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO orders VALUES (%s, %s, %s)
            ON CONFLICT (id) DO UPDATE SET customer = excluded.customer, total = excluded.total
            """,
            [order_id, order.customer_id, order.total],
        )
    await publish("order.updated", order)  # after the commit, so that readers find the new row
    return Response(msgspec.json.encode(order), media_type="application/json")


@app.get("/customers/{customer_id}/orders/count")
async def read_count(customer_id: str) -> int:
    return await count_orders(customer_id)


@app.get("/orders/{order_id}/views")
async def read_views(order_id: str) -> int:
    found = await rows("SELECT count FROM views WHERE order_id = %s", order_id)
    return int(found[0][0]) if found else 0


@app.get("/healthz")
async def healthz() -> str:
    return "ok"


async def publish(kind: str, order: Order) -> None:
    """Publish an event. A service that must not lose one here needs an outbox: docs/kafka.md."""
    event = {"type": kind, "data": order, "id": str(uuid.uuid4())}
    key = order.order_id.encode()  # keeps the events of one order in sequence
    await app.state.producer.send_and_wait(TOPIC, msgspec.json.encode(event), key=key)


if __name__ == "__main__":
    port = int(os.environ.get("HTTP_PORT", "8000"))
    uvicorn.run(app, host=os.environ.get("HTTP_HOST", "127.0.0.1"), port=port, access_log=False)
