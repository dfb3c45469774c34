"""The quickest that a consumer can be: it deletes what it read, at once, and does nothing else.

Nothing is committed, nothing is packed together. Arguments: bootstrap servers, topic, group, Redis
URL.
"""

import asyncio
import sys

import orjson
from redis.asyncio import Redis

from benchmarks.contenders.assigned import consumer


async def consume(bootstrap: str, topic: str, group: str, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    reading = await consumer(bootstrap, topic, group)
    while True:
        polled = await reading.getmany(timeout_ms=300)
        events = [orjson.loads(record.value) for records in polled.values() for record in records]
        if events:
            orders = (f"order:single:{event['data']['orderId']}" for event in events)
            customers = (f"orders:count:{event['data']['customerId']}" for event in events)
            await redis.unlink(*orders, *customers)


asyncio.run(consume(*sys.argv[1:5]))
