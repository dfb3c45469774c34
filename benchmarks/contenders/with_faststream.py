"""The same by a framework: FastStream calls a function for each event, which it has decoded.

Arguments: bootstrap servers, topic, group, Redis URL.
"""

import asyncio
import logging
import sys
from typing import Any

from faststream import FastStream
from faststream.kafka import KafkaBroker
from redis.asyncio import Redis

from benchmarks.contenders.assigned import Assigned

BOOTSTRAP, TOPIC, GROUP, REDIS_URL = sys.argv[1:5]

logging.disable(logging.INFO)
broker = KafkaBroker(BOOTSTRAP, logger=None)
redis = Redis.from_url(REDIS_URL)


async def on_event(event: dict[str, Any]) -> None:
    if event["type"] == "order.updated":
        await redis.delete(f"order:single:{event['data']['orderId']}")
        await redis.delete(f"orders:count:{event['data']['customerId']}")


subscriber = broker.subscriber(
    TOPIC, group_id=GROUP, auto_offset_reset="earliest", listener=Assigned()
)
subscriber(on_event)
asyncio.run(FastStream(broker, logger=None).run())
