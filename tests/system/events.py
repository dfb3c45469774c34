"""The rows, the rules about them, and how an event of a row is sent."""

import random
from typing import Any, Final

import orjson
import redis
from confluent_kafka import Producer

from tests.system.board import BLOCK, BLOCKS

WAYS: Final = ("key", "tag", "version")  # how the rows of a block are invalidated
TABLE: Final = "CREATE TABLE rows (id int PRIMARY KEY, version bigint NOT NULL)"
SELECT: Final = "SELECT id, version FROM rows WHERE id = ANY(%s)"
UPDATE: Final = "UPDATE rows SET version = version + 1 WHERE id = %s RETURNING version"
PUBSUB_EVERY: Final = 4  # blocks: the events of one of them come by pub/sub

# Each rule names a mark beside what it makes stale. All names of an event are applied before any is
# announced: who hears of a mark knows that this version's invalidation was applied.
RULES: Final = """\
version: 1
caches:
  rows: {tags: [{layout: stamp}]}
rules:
  - name: key
    on: row.key
    cache: rows
    invalidate: {keys: ["row:{id}", "mark:{id}:{version}"]}
  - name: tag
    on: row.tag
    cache: rows
    invalidate: {tags: ["block:{block}"], keys: ["mark:{id}:{version}"]}
  - name: version
    on: row.version
    cache: rows
    invalidate: {versions: ["block:{block}"], keys: ["mark:{id}:{version}"]}
  - name: end
    on: topic.end
    cache: rows
    invalidate: {keys: ["end:{number}"]}
"""


def way(row: int) -> str:
    return WAYS[row // BLOCK % len(WAYS)]


def key(row: int) -> str:
    return f"row:{row}"


def by_pubsub(row: int) -> bool:
    """Return whether a row's events come by pub/sub, which may lose them."""
    return row // BLOCK % PUBSUB_EVERY == PUBSUB_EVERY - 1


def depends(row: int) -> dict[str, list[str]]:
    """Return what an entry of this row depends on, besides itself."""
    block = [f"block:{row // BLOCK}"]
    return {"key": {}, "tag": {"tags": block}, "version": {"versions": block}}[way(row)]


def popular(draw: random.Random, only: str = "") -> int:
    """Return the first row of a block; some blocks are read and written much more than others."""
    while True:
        row = int(BLOCKS * draw.random() ** 3) * BLOCK
        if only in ("", way(row)):
            return row


class Publisher:
    """Sends the event of a row after its commit."""

    def __init__(self, bootstrap: str, topic: str, source: str) -> None:
        self._topic, self._channel = topic, topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0})
        self._redis: Any = redis.Redis.from_url(source)

    def send(self, row: int, version: int) -> None:
        data = {"id": str(row), "block": str(row // BLOCK), "version": str(version)}
        event = orjson.dumps({"type": f"row.{way(row)}", "data": data})
        if by_pubsub(row):
            self._redis.publish(self._channel, event)
        else:
            self._producer.produce(self._topic, event, key=str(row))
            self._producer.poll(0)
