"""A service that caches orders in Redis (cache-aside) and publishes an event for each change.

GET  /orders/ID    returns the order as JSON; the header X-Cache says hit or miss
PUT  /orders/ID    {"total": 5, "customerId": "c7"}: writes the order and publishes order.updated
GET  /healthz      returns 200

It never deletes what it cached: the daemon does.
"""

import asyncio
import json
import os
import signal
import sqlite3
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import redis.asyncio as redis
from aiokafka import AIOKafkaProducer

LIFETIME = 3600  # seconds: an entry that no event invalidates expires after an hour
JSON, TEXT = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}

Answer = tuple[int, bytes, Mapping[str, str]]  # status, body, headers


class Database:
    """Stores the orders. Reading is slow, as otherwise nobody would need a cache."""

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


class Orders:
    def __init__(self, cache: redis.Redis, producer: AIOKafkaProducer, topic: str) -> None:
        self._database = Database()
        self._cache = cache
        self._producer = producer
        self._topic = topic

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        order_id = unquote(path.removeprefix("/orders/"))
        if path == "/healthz":
            return 200, b"ok\n", TEXT
        if method == "PUT":
            return await self._put(order_id, body)
        return await self._get(order_id)

    async def _get(self, order_id: str) -> Answer:
        key = f"order:single:{order_id}"
        if cached := await self._cache.get(key):
            return 200, cached, {**JSON, "X-Cache": "hit"}
        order = await self._database.read(order_id)
        if order is None:
            return 404, f"no order {order_id}\n".encode(), TEXT
        body = json.dumps(order).encode()
        await self._cache.set(key, body, ex=LIFETIME)
        return 200, body, {**JSON, "X-Cache": "miss"}

    async def _put(self, order_id: str, body: bytes) -> Answer:
        try:
            said = json.loads(body)
            order = {"orderId": order_id, "customerId": said["customerId"], "total": said["total"]}
        except (ValueError, TypeError, KeyError) as error:
            return 400, f"expected customerId and total: {error}\n".encode(), TEXT
        self._database.write(order_id, order)
        await self._publish("order.updated", order)
        return 200, json.dumps(order).encode(), JSON

    async def _publish(self, kind: str, order: dict[str, Any]) -> None:
        """Publish an event; the row must be written before, so that readers in between find it.

        A service that must not lose an event when it crashes here needs an outbox: docs/kafka.md.
        """
        event = {"type": kind, "data": order, "id": str(uuid.uuid4())}
        key = order["orderId"].encode()  # keeps the events of one order in sequence
        await self._producer.send_and_wait(self._topic, json.dumps(event).encode(), key=key)


def server(orders: Orders, loop: asyncio.AbstractEventLoop, port: int) -> ThreadingHTTPServer:
    """Return a server whose threads pass each call to the event loop."""

    class Call(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            work = orders.answer(self.command, self.path, body)
            status, body, headers = asyncio.run_coroutine_threadsafe(work, loop).result()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815 - the name that the base class requires

        def log_request(self, *_: object) -> None:
            """Log nothing."""

    return ThreadingHTTPServer(("", port), Call)


async def main() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    brokers = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
    topic = os.environ.get("TOPIC", "domain-events")
    cache = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
    async with cache, AIOKafkaProducer(bootstrap_servers=brokers, acks="all") as producer:
        orders = Orders(cache, producer, topic)
        with server(orders, loop, int(os.environ.get("HTTP_PORT", "8000"))) as http:
            serving = asyncio.create_task(asyncio.to_thread(http.serve_forever))
            await stop.wait()
            await asyncio.to_thread(http.shutdown)
            await serving


if __name__ == "__main__":
    asyncio.run(main())
