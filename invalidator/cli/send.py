"""Sends one event over Redis, and says where it went."""

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from invalidator.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import SecretStr

    from invalidator.redisclient import Client
    from invalidator.settings import Settings

Event: TypeAlias = tuple[dict[str, Any], list[tuple[str, str]]]  # its JSON, and its headers


async def set_keys(settings: "Settings", pairs: list[tuple[str, str]]) -> None:
    from invalidator.redisclient import converse

    async with _redis(settings, settings.redis_url) as (cache, name):
        _unless_refused(name, await converse(cache, [("SET", *pair) for pair in pairs]))
    for key, _ in pairs:
        print(f"set {key} on {name}")


async def to_channel(settings: "Settings", channel: str, event: Event) -> None:
    import orjson

    from invalidator.redisclient import converse, publish

    body, _ = event
    message = orjson.dumps(body)
    sharded = channel in settings.pubsub.sharded_channels
    async with _redis(settings, settings.source_redis_url) as (source, name):
        if sharded:
            replies = await converse(source, [("SPUBLISH", channel, message)])
        else:
            replies = await publish(source, channel, [message])
    (heard,) = _unless_refused(name, replies)
    subscribers = "1 subscriber" if heard == 1 else f"{heard} subscribers"
    print(f"published {body['type']} on channel {channel} of {name}: {subscribers}")
    print(f"  id {body['id']}")
    if not heard:
        _warn(_nobody(channel, "SHARDED_CHANNELS" if sharded else "CHANNELS"))


async def to_stream(settings: "Settings", stream: str, event: Event) -> None:
    import orjson

    from invalidator.redisclient import Command, converse

    body, headers = event
    fields = [part for header in headers for part in header]
    add: Command = ("XADD", stream, "*", *fields, "event", orjson.dumps(body))
    async with _redis(settings, settings.source_redis_url) as (source, name):
        replies = await converse(source, [add, ("XINFO", "GROUPS", stream)])
    entry, groups = _unless_refused(name, replies)
    read_by = "1 group" if len(groups) == 1 else f"{len(groups)} groups"
    print(f"published {body['type']} on stream {stream} of {name}: {read_by}")
    print(f"  id {body['id']}, entry {entry.decode()}")
    if not groups:
        _warn(_no_group(stream))


def _warn(said: str) -> None:
    sys.stdout.flush()
    print(said, file=sys.stderr)


def _no_group(stream: str) -> str:
    return (
        f"warning: no group reads {stream}, so nothing was invalidated. A daemon must run with\n"
        f"{stream} in its INVALIDATOR_STREAMS__KEYS and this Redis as its source. The entry stays."
    )


def _nobody(channel: str, among: str) -> str:
    return (
        f"warning: nobody listens on {channel}, so nothing was invalidated. A daemon must run\n"
        f"with {channel} in its INVALIDATOR_PUBSUB__{among} and this Redis as its source."
    )


@asynccontextmanager
async def _redis(settings: "Settings", url: "SecretStr") -> "AsyncIterator[tuple[Client, str]]":
    """A Redis for a moment; what goes wrong is said with its address, without its password."""
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


def _unless_refused(name: str, replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise Unavailable(name, str(reply))
    return replies
