"""A consumer as a good team writes it by hand: batches of 5,000, orjson, one pipeline, commit.

Arguments: bootstrap servers, topic, group, Redis URL.
"""

import asyncio
import signal
import sys

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from redis.asyncio import Redis

BATCH = 5_000
PER_COMMAND = 256


class Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: object) -> None:
        print("assigned", file=sys.stderr, flush=True)


async def consume(bootstrap: str, topic: str, group: str, redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    consumer.subscribe([topic], listener=Assigned())
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    while not stopping.is_set():
        polled = await consumer.getmany(timeout_ms=300, max_records=BATCH)
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
            await consumer.commit()
    await consumer.stop()
    await redis.aclose()


asyncio.run(consume(*sys.argv[1:5]))
