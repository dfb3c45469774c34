"""A consumer as most write it first: one event at a time, one delete per key.

Arguments: bootstrap servers, topic, group, Redis URL.
"""

import asyncio
import json
import sys

from redis.asyncio import Redis

from benchmarks.contenders.assigned import consumer

COMMIT_EVERY = 1_000  # else committing would be all that it does


async def consume(bootstrap: str, topic: str, group: str, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    reading = await consumer(bootstrap, topic, group)
    done = 0
    async for record in reading:
        event = json.loads(record.value)
        if event["type"] == "order.updated":
            await redis.delete(f"order:single:{event['data']['orderId']}")
            await redis.delete(f"orders:count:{event['data']['customerId']}")
        done += 1
        if done % COMMIT_EVERY == 0:
            await reading.commit()


asyncio.run(consume(*sys.argv[1:5]))
