"""A service that caches orders in Redis and publishes what changes: cache-aside and an event.

GET  /orders/ID    the order as JSON; the header X-Cache says hit or miss
PUT  /orders/ID    {"total": 5, "customerId": "c7"}: writes the order, and publishes order.updated
GET  /healthz      200

It does not delete what it cached: that is the daemon's work.
"""

import asyncio
import json
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio as redis
from aiohttp import web
from aiokafka import AIOKafkaProducer

LIFETIME = 3600  # seconds: what an event misses is gone after an hour


class Database:
    """Where orders really are. Reading takes its time, or nobody would need a cache."""

    def __init__(self, path: str = ":memory:") -> None:
        self._rows = sqlite3.connect(path)
        self._rows.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, row TEXT)")

    async def read(self, order_id: str) -> dict[str, Any] | None:
        await asyncio.sleep(0.05)
        found = self._rows.execute("SELECT row FROM orders WHERE id = ?", (order_id,)).fetchone()
        return json.loads(found[0]) if found else None

    def write(self, order_id: str, row: dict[str, Any]) -> None:
        with self._rows:
            self._rows.execute(
                "INSERT OR REPLACE INTO orders VALUES (?, ?)", (order_id, json.dumps(row))
            )

    def close(self) -> None:
        self._rows.close()


class Orders:
    def __init__(self, redis_url: str, brokers: str, topic: str) -> None:
        self._redis_url = redis_url
        self._brokers = brokers
        self._topic = topic

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        self._database = Database()
        self._cache = redis.Redis.from_url(self._redis_url)
        self._producer = AIOKafkaProducer(bootstrap_servers=self._brokers, acks="all")
        await self._producer.start()
        yield
        await self._producer.stop()
        await self._cache.aclose()
        self._database.close()

    async def get(self, request: web.Request) -> web.Response:
        order_id = request.match_info["id"]
        key = f"order:single:{order_id}"
        if cached := await self._cache.get(key):
            return _answer(cached, "hit")
        order = await self._database.read(order_id)
        if order is None:
            raise web.HTTPNotFound(text=f"no order {order_id}\n")
        body = json.dumps(order).encode()
        await self._cache.set(key, body, ex=LIFETIME)
        return _answer(body, "miss")

    async def put(self, request: web.Request) -> web.Response:
        order_id = request.match_info["id"]
        try:
            said = await request.json()
            order = {"orderId": order_id, "customerId": said["customerId"], "total": said["total"]}
        except (ValueError, TypeError, KeyError) as error:
            raise web.HTTPBadRequest(text=f"expected customerId and total: {error}\n") from None
        self._database.write(order_id, order)
        await self._publish("order.updated", order)
        return web.json_response(order)

    async def _publish(self, kind: str, order: dict[str, Any]) -> None:
        """After the row is written: who reads in between must find the new one.

        A service that must not lose an event when it dies here keeps an outbox: docs/kafka.md.
        """
        event = {"type": kind, "data": order, "id": str(uuid.uuid4())}
        key = order["orderId"].encode()  # all events of an order stay in their order
        await self._producer.send_and_wait(self._topic, json.dumps(event).encode(), key=key)


def _answer(body: bytes, cache: str) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers={"X-Cache": cache})


async def healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def service(redis_url: str, brokers: str, topic: str) -> web.Application:
    orders = Orders(redis_url, brokers, topic)
    app = web.Application()
    app.cleanup_ctx.append(orders.running)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/orders/{id}", orders.get)
    app.router.add_put("/orders/{id}", orders.put)
    return app


if __name__ == "__main__":
    web.run_app(
        service(
            os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
            os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092"),
            os.environ.get("TOPIC", "domain-events"),
        ),
        port=int(os.environ.get("HTTP_PORT", "8000")),
        print=None,
    )
