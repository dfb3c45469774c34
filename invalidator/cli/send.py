"""Send one event over Redis or Kafka, and report where it went."""

import logging
import time
from asyncio import timeout
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from invalidator.cli.common import UsageError, plural
from invalidator.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import AIOKafkaProducer
    from pydantic import SecretStr

    from invalidator.cli.wire import Wire
    from invalidator.redisclient import Client
    from invalidator.settings import Settings
    from invalidator.settings.model import Kafka
    from invalidator.sources.kafka.brokers import Brokers

KAFKA_WITHIN: Final = 20.0  # seconds, for everything
KAFKA_REPLY_WITHIN: Final = 6.0  # for a reply of one broker


class Target(Struct, frozen=True):
    """Says where an event goes."""

    to: str  # pubsub, stream, kafka
    place: str  # the channel, stream or topic
    key: str | None = None  # of a Kafka record
    partition: int | None = None  # None: the key decides, as in Kafka's own clients


class Sent(Struct, frozen=True):
    """Tells a person what became of it."""

    server: str
    at: float  # when it was sent, by the monotonic clock
    said: str
    warning: str = ""  # why it can have no effect now
    lost: bool = False  # nobody will ever read it


async def send(settings: "Settings", target: Target, wire: "Wire") -> Sent:
    """Send the event. Raises Unavailable or UsageError."""
    if target.to == "pubsub":
        return await _to_channel(settings, target.place, wire)
    if target.to == "stream":
        return await _to_stream(settings, target.place, wire)
    return await _to_topic(settings.kafka, target, wire)


def _said(wire: "Wire", where: str, *more: str) -> str:
    known = [f"id {wire.id}"] if wire.id else []
    return f"published {wire.type} {where}\n  {', '.join([*known, *more])}"


# --- Redis ------------------------------------------------------------------------------------


async def set_keys(client: "Client", server: str, pairs: "Sequence[tuple[str, str]]") -> None:
    from invalidator.redisclient import converse

    _checked(server, await converse(client, [("SET", *pair) for pair in pairs]))


async def _to_channel(settings: "Settings", channel: str, wire: "Wire") -> Sent:
    from invalidator.redisclient import converse, publish

    sharded = channel in settings.pubsub.sharded_channels
    async with redis(settings, settings.source_redis_url) as (source, name):
        at = time.monotonic()
        if sharded:
            replies = await converse(source, [("SPUBLISH", channel, wire.body)])
        else:
            replies = await publish(source, channel, [wire.body])
    (receivers,) = _checked(name, replies)
    said = _said(wire, f"on channel {channel}: {plural(receivers, 'subscriber')}", name)
    if receivers:
        return Sent(name, at, said)
    setting = "SHARDED_CHANNELS" if sharded else "CHANNELS"
    return Sent(
        name,
        at,
        said,
        f"nobody listens on {channel}, so nothing was invalidated. Run a daemon\n"
        f"with {channel} in INVALIDATOR_PUBSUB__{setting} and this Redis as its source.",
        lost=True,
    )


async def _to_stream(settings: "Settings", stream: str, wire: "Wire") -> Sent:
    from invalidator.redisclient import Command, converse

    fields = [part for header in wire.headers for part in header]
    add: Command = ("XADD", stream, "*", *fields, "event", wire.body)
    async with redis(settings, settings.source_redis_url) as (source, name):
        at = time.monotonic()
        replies = await converse(source, [add, ("XINFO", "GROUPS", stream)])
    entry, groups = _checked(name, replies)
    said = _said(
        wire, f"on stream {stream}: {plural(len(groups), 'group')}", f"entry {entry.decode()}"
    )
    said += f"\n  {name}"
    if groups:
        return Sent(name, at, said)
    return Sent(
        name,
        at,
        said,
        f"no group reads {stream}, so nothing was invalidated. Run a daemon with\n"
        f"{stream} in INVALIDATOR_STREAMS__KEYS and this Redis as its source. The entry stays.",
    )


@asynccontextmanager
async def redis(settings: "Settings", url: "SecretStr") -> "AsyncIterator[tuple[Client, str]]":
    """Yield a client and the server's name; errors become Unavailable, without the password."""
    from redis.exceptions import RedisError

    from invalidator.redisclient import client
    from invalidator.redisclient.errors import diagnose
    from invalidator.runtime.urls import redact

    name = redact(url.get_secret_value())
    tls = settings.redis_tls.options()
    async with client(url.get_secret_value(), settings.redis_timeout, tls) as redis:
        try:
            yield redis, name
        except (RedisError, OSError) as error:
            raise diagnose(error).unavailable(name) from None


def _checked(name: str, replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise Unavailable(name, str(reply))
    return replies


# --- Kafka ------------------------------------------------------------------------------------


async def _to_topic(kafka: "Kafka", target: Target, wire: "Wire") -> Sent:
    from aiokafka.errors import KafkaError

    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.private import describe

    brokers = Brokers.of(kafka)
    with _library_silent():
        try:
            async with timeout(KAFKA_WITHIN):
                at, where = await _written(brokers, target, wire)
        except (KafkaError, OSError) as error:  # TimeoutError is one
            reason = await brokers.why() or describe(error)
            raise Unavailable("kafka", f"{brokers.address}: {reason}") from error
    place = f"partition {where.partition}, offset {where.offset}"
    said = _said(wire, f"to topic {target.place} of {brokers.address}", place)
    return Sent(brokers.address, at, said)


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


async def _written(brokers: "Brokers", target: Target, wire: "Wire") -> tuple[float, Any]:
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
        await _check_topic(producer, brokers, target)
        at = time.monotonic()
        return at, await producer.send_and_wait(
            target.place,
            wire.body,
            key=None if target.key is None else target.key.encode(),
            partition=target.partition,
            headers=[(name, value.encode()) for name, value in wire.headers],
        )
    finally:
        await producer.stop()


async def _check_topic(producer: "AIOKafkaProducer", brokers: "Brokers", target: Target) -> None:
    """Raise UsageError unless topic and partition exist; writing could create the topic."""
    cluster = await producer.client.fetch_all_metadata()
    partitions = cluster.partitions_for_topic(target.place)
    if not partitions:
        known = sorted(name for name in cluster.topics() if not name.startswith("__"))
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise UsageError(
            f"kafka: {brokers.address} has no topic {target.place} that we may see; "
            f"it has {shown or 'none'}. Topics are never created."
        )
    if target.partition is not None and target.partition not in partitions:
        raise UsageError(
            f"--partition {target.partition}: topic {target.place} has {len(partitions)}, "
            f"from 0 to {max(partitions)}"
        )
