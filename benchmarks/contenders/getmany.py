"""No consumer of use: it only reads, to show what reading alone costs.

Arguments: bootstrap servers, topic, group, Redis URL, and how many records there are.
"""

import asyncio
import sys

from redis.asyncio import Redis

from benchmarks.contenders.assigned import consumer
from benchmarks.workload import end_keys


async def consume(bootstrap: str, topic: str, group: str, redis_url: str, count: str) -> None:
    reading = await consumer(bootstrap, topic, group)
    left = int(count)
    while left > 0:
        polled = await reading.getmany(timeout_ms=300)
        left -= sum(map(len, polled.values()))
    async with Redis.from_url(redis_url) as redis:
        await redis.unlink(*end_keys())  # says that it is done
    await asyncio.Event().wait()


asyncio.run(consume(*sys.argv[1:6]))
