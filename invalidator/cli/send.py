"""Send one event over Redis or Kafka, and report where it went."""

import logging
from asyncio import timeout
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from msgspec import Struct

from invalidator.cli.common import UsageError, plural, say, warn
from invalidator.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaProducer
    from pydantic import SecretStr

    from invalidator.redisclient import Client
    from invalidator.settings import Settings
    from invalidator.settings.model import Kafka
    from invalidator.sources.kafka.brokers import Brokers

Event: TypeAlias = tuple[dict[str, Any], list[tuple[str, str]]]  # its JSON, and its headers

KAFKA_WITHIN: Final = 20.0  # seconds, for everything
KAFKA_REPLY_WITHIN: Final = 6.0  # for a reply of one broker


# --- Redis ------------------------------------------------------------------------------------


async def set_keys(settings: "Settings", pairs: list[tuple[str, str]]) -> None:
    from invalidator.redisclient import converse

    async with _redis(settings, settings.redis_url) as (cache, name):
        _checked(name, await converse(cache, [("SET", *pair) for pair in pairs]))
    for key, _ in pairs:
        say(f"set {key} on {name}")


async def to_channel(settings: "Settings", channel: str, event: Event) -> None:
    from invalidator.redisclient import converse, publish

    body, _ = event
    message = orjson.dumps(body)
    sharded = channel in settings.pubsub.sharded_channels
    async with _redis(settings, settings.source_redis_url) as (source, name):
        if sharded:
            replies = await converse(source, [("SPUBLISH", channel, message)])
        else:
            replies = await publish(source, channel, [message])
    (receivers,) = _checked(name, replies)
    subscribers = plural(receivers, "subscriber")
    say(f"published {body['type']} on channel {channel} of {name}: {subscribers}")
    say(f"  id {body['id']}")
    if not receivers:
        setting = "SHARDED_CHANNELS" if sharded else "CHANNELS"
        warn(
            f"warning: nobody listens on {channel}, so nothing was invalidated. Run a daemon with\n"
            f"{channel} in INVALIDATOR_PUBSUB__{setting} and this Redis as its source."
        )


async def to_stream(settings: "Settings", stream: str, event: Event) -> None:
    from invalidator.redisclient import Command, converse

    body, headers = event
    fields = [part for header in headers for part in header]
    add: Command = ("XADD", stream, "*", *fields, "event", orjson.dumps(body))
    async with _redis(settings, settings.source_redis_url) as (source, name):
        replies = await converse(source, [add, ("XINFO", "GROUPS", stream)])
    entry, groups = _checked(name, replies)
    readers = plural(len(groups), "group")
    say(f"published {body['type']} on stream {stream} of {name}: {readers}")
    say(f"  id {body['id']}, entry {entry.decode()}")
    if not groups:
        warn(
            f"warning: no group reads {stream}, so nothing was invalidated. Run a daemon with\n"
            f"{stream} in INVALIDATOR_STREAMS__KEYS and this Redis as its source. The entry stays."
        )


@asynccontextmanager
async def _redis(settings: "Settings", url: "SecretStr") -> "AsyncIterator[tuple[Client, str]]":
    """Yield a client and the server's name; errors become Unavailable, without the password."""
    from redis.exceptions import RedisError

    from invalidator.redisclient import client
    from invalidator.runtime.urls import redact

    name = redact(url.get_secret_value())
    tls = settings.redis_tls.options()
    async with client(url.get_secret_value(), settings.redis_timeout, tls) as redis:
        try:
            yield redis, name
        except (RedisError, OSError) as error:
            raise Unavailable(name, str(error)) from None


def _checked(name: str, replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise Unavailable(name, str(reply))
    return replies


# --- Kafka ------------------------------------------------------------------------------------


class Record(Struct, frozen=True):
    topic: str
    event: Event
    key: str | None
    partition: int | None  # None: the key decides, as in Kafka's own clients


async def to_topic(kafka: "Kafka", record: Record) -> None:
    """Write the record, or raise Unavailable or UsageError."""
    from aiokafka.errors import KafkaError

    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.private import describe

    brokers = Brokers.of(kafka)
    with _library_silent():
        try:
            async with timeout(KAFKA_WITHIN):
                where = await _written(brokers, record)
        except (KafkaError, OSError) as error:  # TimeoutError is one
            reason = await brokers.why() or describe(error)
            raise Unavailable("kafka", f"{brokers.address}: {reason}") from error
    body, _ = record.event
    say(f"published {body['type']} to topic {record.topic} of {brokers.address}")
    say(f"  id {body['id']}, partition {where.partition}, offset {where.offset}")


@contextmanager
def _library_silent() -> Iterator[None]:
    """Silence the client: our own message explains better why a broker is unavailable."""
    library = logging.getLogger("aiokafka")
    before = library.level
    library.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        library.setLevel(before)


async def _written(brokers: "Brokers", record: Record) -> Any:
    from aiokafka import AIOKafkaProducer

    from invalidator.sources.kafka.brokers import CLIENT

    producer = AIOKafkaProducer(
        bootstrap_servers=brokers.address,
        client_id=CLIENT,
        acks="all",
        request_timeout_ms=int(KAFKA_REPLY_WITHIN * 1000),
        **brokers.options(),
    )
    try:
        await producer.start()
        await _check_topic(producer, brokers, record)
        body, headers = record.event
        return await producer.send_and_wait(
            record.topic,
            orjson.dumps(body),
            key=None if record.key is None else record.key.encode(),
            partition=record.partition,
            headers=[(name, value.encode()) for name, value in headers],
        )
    finally:
        await producer.stop()


async def _check_topic(producer: "AIOKafkaProducer", brokers: "Brokers", record: Record) -> None:
    """Raise UsageError unless topic and partition exist; writing could create the topic."""
    cluster = await producer.client.fetch_all_metadata()
    partitions = cluster.partitions_for_topic(record.topic)
    if not partitions:
        known = sorted(name for name in cluster.topics() if not name.startswith("__"))
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise UsageError(
            f"kafka: {brokers.address} has no topic {record.topic} that we may see; "
            f"it has {shown or 'none'}. Topics are never created."
        )
    if record.partition is not None and record.partition not in partitions:
        raise UsageError(
            f"--partition {record.partition}: topic {record.topic} has {len(partitions)}, "
            f"from 0 to {max(partitions)}"
        )
