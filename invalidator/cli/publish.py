"""`invalidator publish`: put entries into the cache, then send an event, to see what happens."""

import argparse
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from invalidator.cli.verbs import UsageError, Verbs
from invalidator.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import SecretStr

    from invalidator.connect import Client
    from invalidator.settings import Settings

_DEFAULT = "events"

_EPILOG = """\
examples:
  invalidator publish order.updated '{"orderId": "ord_1"}'
  invalidator publish order.updated '{"orderId": "ord_1"}' --set order:single:ord_1='{"total": 5}'
      first puts that entry into the cache, so that there is something to invalidate
  invalidator publish user.deleted @user.json --channel users
  jq .payload message.json | invalidator publish user.deleted -
  invalidator publish order.updated '{"orderId": "ord_1"}' --stream orders

The event is {"type": TYPE, "data": JSON, "id": ..., "time": ...}. Without --to, --channel and
--stream it goes to a channel, or where only INVALIDATOR_STREAMS__KEYS is set, to a stream: to the
first one configured that is no glob, else to `events`.
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "publish",
        help="send an event over Redis pub/sub or a Redis Stream",
        description="Sends one event over Redis, after setting keys if asked to.",
        epilog=_EPILOG,
    )
    parser.add_argument("type", metavar="TYPE", help="the event's type, such as order.updated")
    parser.add_argument("json", metavar="JSON", help="its data; @FILE reads a file, - stdin")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set this key in the cache first; what follows the first = is the value",
    )
    parser.add_argument("--to", choices=["pubsub", "stream"], help="how to send it")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--channel", metavar="CHANNEL", help="the channel to publish to")
    where.add_argument("--stream", metavar="KEY", help="the stream to add it to")
    parser.add_argument(
        "--redis-url", metavar="URL", help="the Redis for both, instead of the configured ones"
    )
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.settings import load

    event = _event(args.type, _read(args.json))
    pairs = [_pair(text) for text in args.set]
    settings = load(args.env_file, redis_url=args.redis_url, source_redis_url=args.redis_url)
    stream = ""
    if _is_for_a_stream(args, settings):
        stream = args.stream or next(iter(settings.streams.keys), _DEFAULT)
    channel = args.channel or _channel(settings.pubsub.channels)
    asyncio.run(_send(settings, pairs, event, stream=stream, channel=channel))
    return 0


def _is_for_a_stream(args: argparse.Namespace, settings: "Settings") -> bool:
    named = "stream" if args.stream else "pubsub" if args.channel else None
    if args.to and named and args.to != named:
        raise UsageError(
            f"--to {args.to} does not go with --{'stream' if args.stream else 'channel'}"
        )
    only_streams = bool(settings.streams.keys and not settings.pubsub.channels)
    return (args.to or named or ("stream" if only_streams else "pubsub")) == "stream"


def _event(kind: str, text: str) -> dict[str, Any]:
    import orjson

    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(_not_json(text, error.msg, error.lineno, error.colno)) from None
    if not isinstance(data, dict):
        raise UsageError(f'the data is no JSON object, such as {{"id": 1}}: {text.strip()[:60]}')
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": kind, "data": data, "id": str(uuid4()), "time": time}


def _not_json(text: str, reason: str, line: int, column: int) -> str:
    found = text.splitlines()[line - 1] if text.strip() else ""
    start = max(0, column - 40)
    shown = found[start : column + 40]
    return (
        f"the data is not JSON: {reason}, at line {line}, column {column}\n"
        f"  {shown}\n  {' ' * (column - 1 - start)}^"
    )


def _read(argument: str) -> str:
    if argument == "-":
        return sys.stdin.read()
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"{argument[1:]}: cannot be read: {reason}") from None


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise UsageError(f"--set takes KEY=VALUE, found {text!r}")
    return key, value


def _channel(channels: tuple[str, ...]) -> str:
    literal = (name for name in channels if not set("*?[\\") & set(name))
    return next(literal, _DEFAULT)


async def _send(
    settings: "Settings",
    pairs: list[tuple[str, str]],
    event: dict[str, Any],
    *,
    stream: str,
    channel: str,
) -> None:
    if pairs:
        await _set(settings, pairs)
    async with _redis(settings, settings.source_redis_url) as (source, name):
        if stream:
            await _add(source, name, stream, event)
        else:
            await _publish(source, name, channel, event)


async def _set(settings: "Settings", pairs: list[tuple[str, str]]) -> None:
    from invalidator.connect import converse

    async with _redis(settings, settings.redis_url) as (cache, name):
        _unless_refused(name, await converse(cache, [("SET", *pair) for pair in pairs]))
    for key, _ in pairs:
        print(f"set {key} on {name}")


async def _publish(source: "Client", name: str, channel: str, event: dict[str, Any]) -> None:
    import orjson

    from invalidator.connect import publish

    replies = await publish(source, channel, [orjson.dumps(event)])
    (heard,) = _unless_refused(name, replies)
    subscribers = "1 subscriber" if heard == 1 else f"{heard} subscribers"
    print(f"published {event['type']} on channel {channel} of {name}: {subscribers}")
    print(f"  id {event['id']}")
    if not heard:
        sys.stdout.flush()
        print(_nobody(channel), file=sys.stderr)


async def _add(source: "Client", name: str, stream: str, event: dict[str, Any]) -> None:
    import orjson

    from invalidator.connect import converse

    add = ("XADD", stream, "*", "event", orjson.dumps(event))
    replies = await converse(source, [add, ("XINFO", "GROUPS", stream)])
    entry, groups = _unless_refused(name, replies)
    read_by = "1 group" if len(groups) == 1 else f"{len(groups)} groups"
    print(f"published {event['type']} on stream {stream} of {name}: {read_by}")
    print(f"  id {event['id']}, entry {entry.decode()}")
    if not groups:
        sys.stdout.flush()
        print(_no_group(stream), file=sys.stderr)


def _no_group(stream: str) -> str:
    return (
        f"warning: no group reads {stream}, so nothing was invalidated. A daemon must run with\n"
        f"{stream} in its INVALIDATOR_STREAMS__KEYS and this Redis as its source. The entry stays."
    )


def _nobody(channel: str) -> str:
    return (
        f"warning: nobody listens on {channel}, so nothing was invalidated. A daemon must run\n"
        f"with {channel} in its INVALIDATOR_PUBSUB__CHANNELS and this Redis as its source."
    )


@asynccontextmanager
async def _redis(settings: "Settings", url: "SecretStr") -> "AsyncIterator[tuple[Client, str]]":
    """A Redis for a moment; what goes wrong is said with its address, without its password."""
    from redis.exceptions import RedisError

    from invalidator.connect import client
    from invalidator.urls import redact

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
