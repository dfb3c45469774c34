"""A consumer as a good team writes it by hand: batches of 5,000, orjson, one pipeline, commit.

Arguments: bootstrap servers, topic, group, Redis URL.
"""

import asyncio
import sys

import orjson
from redis.asyncio import Redis

from benchmarks.contenders.assigned import consumer

BATCH = 5_000
PER_COMMAND = 256


async def consume(bootstrap: str, topic: str, group: str, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    reading = await consumer(bootstrap, topic, group)
    while True:
        polled = await reading.getmany(timeout_ms=300, max_records=BATCH)
        keys = []
        for records in polled.values():
            for record in records:
                event = orjson.loads(record.value)
                if event["type"] == "order.updated":
                    data = event["data"]
                    keys.append(f"order:single:{data['orderId']}")
                    keys.append(f"orders:count:{data['customerId']}")
        if polled:
            pipe = redis.pipeline(transaction=False)
            for at in range(0, len(keys), PER_COMMAND):
                pipe.unlink(*keys[at : at + PER_COMMAND])
            await pipe.execute()
            await reading.commit()


asyncio.run(consume(*sys.argv[1:5]))
