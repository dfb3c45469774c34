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

_DEFAULT_CHANNEL = "events"

_EPILOG = """\
examples:
  invalidator publish order.updated '{"orderId": "ord_1"}'
  invalidator publish order.updated '{"orderId": "ord_1"}' --set order:single:ord_1='{"total": 5}'
      first puts that entry into the cache, so that there is something to invalidate
  invalidator publish user.deleted @user.json --channel users
  jq .payload message.json | invalidator publish user.deleted -

The event is {"type": TYPE, "data": JSON, "id": ..., "time": ...}. It goes to the first channel of
INVALIDATOR_PUBSUB__CHANNELS that is no glob, else to `events`.
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "publish",
        help="send an event over Redis pub/sub",
        description="Sends one event over Redis pub/sub, after setting keys if asked to.",
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
    parser.add_argument("--channel", metavar="CHANNEL", help="the channel to publish to")
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
    channel = args.channel or _channel(settings.pubsub.channels)
    asyncio.run(_send(settings, pairs, channel, event))
    return 0


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
    return next(literal, _DEFAULT_CHANNEL)


async def _send(
    settings: "Settings", pairs: list[tuple[str, str]], channel: str, event: dict[str, Any]
) -> None:
    import orjson

    from invalidator.connect import converse, publish

    if pairs:
        async with _redis(settings, settings.redis_url) as (cache, name):
            _unless_refused(name, await converse(cache, [("SET", *pair) for pair in pairs]))
        for key, _ in pairs:
            print(f"set {key} on {name}")
    async with _redis(settings, settings.source_redis_url) as (source, name):
        replies = await publish(source, channel, [orjson.dumps(event)])
        (heard,) = _unless_refused(name, replies)
    subscribers = "1 subscriber" if heard == 1 else f"{heard} subscribers"
    print(f"published {event['type']} on channel {channel} of {name}: {subscribers}")
    print(f"  id {event['id']}")
    if not heard:
        sys.stdout.flush()
        print(_nobody(channel), file=sys.stderr)


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
