"""What is possible: the shape of the daemon without anything that makes it safe or general.

Large fetches, one set of keys for up to 20,000 events, UNLINK of 256 packed by hiredis on one bare
connection, and the next batch decoded while the last one is applied. It commits nothing, answers no
errors, and knows one kind of event. Arguments: bootstrap servers, topic, group, Redis URL.
"""

import asyncio
import sys
from urllib.parse import urlsplit

import orjson
from hiredis import Reader, pack_command

from benchmarks.contenders.assigned import consumer

BATCH = 20_000
PER_COMMAND = 256
FETCH = 4 * 1024 * 1024


class Bare:
    """One connection to Redis."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._replies = reader, writer, Reader()

    async def unlink(self, keys: list[str]) -> None:
        left = 0
        for at in range(0, len(keys), PER_COMMAND):
            command = ("UNLINK", *keys[at : at + PER_COMMAND])
            self._writer.write(pack_command(command))  # type: ignore[arg-type]  # its stub takes one item
            left += 1
        while left:
            self._replies.feed(await self._reader.read(65_536))
            while self._replies.gets() is not False:
                left -= 1


async def consume(bootstrap: str, topic: str, group: str, redis_url: str) -> None:
    at = urlsplit(redis_url)
    redis = Bare(*await asyncio.open_connection(at.hostname, at.port))
    reading = await consumer(bootstrap, topic, group, max_partition_fetch_bytes=FETCH)
    applying = asyncio.create_task(asyncio.sleep(0))
    while True:
        polled = await reading.getmany(timeout_ms=300, max_records=BATCH)
        keys = set()
        for records in polled.values():
            for record in records:
                event = orjson.loads(record.value)
                if event["type"] == "order.updated":
                    data = event["data"]
                    keys.add(f"order:single:{data['orderId']}")
                    keys.add(f"orders:count:{data['customerId']}")
        await applying
        applying = asyncio.create_task(redis.unlink([*keys]))


asyncio.run(consume(*sys.argv[1:5]))
