"""`invalidator publish`: send an event, after setting keys in the cache if asked to."""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from invalidator.cli.common import UsageError, Verbs, content, pair, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invalidator.cli.send import Event
    from invalidator.settings import Settings

_DEFAULT = "events"
_ONLY_TO = {  # options that select a way of sending
    "channel": "pubsub",
    "stream": "stream",
    "topic": "kafka",
    "record_key": "kafka",
    "partition": "kafka",
    "bootstrap_servers": "kafka",
}

_EPILOG = """\
examples:
  invalidator publish order.updated '{"orderId": "ord_1"}'
  invalidator publish order.updated '{"orderId": "ord_1"}' --set order:single:ord_1='{"total": 5}'
      first sets this key in the cache, so that there is something to invalidate
  invalidator publish user.deleted @user.json --channel users
  jq .payload message.json | invalidator publish user.deleted -
  invalidator publish order.updated '{"orderId": "ord_1"}' --stream orders
  invalidator publish order.updated '{"orderId": "ord_1"}' --to kafka --record-key ord_1
      to the first of INVALIDATOR_KAFKA__TOPICS; all records of one key share a partition

The event is {"type": TYPE, "data": JSON, "id": ..., "time": ...}. Without --to, the other options
decide where it goes, otherwise the settings: to the first channel, stream or topic, in this order,
that is not a pattern. Without any of them it goes to the channel `events`.

Kafka acknowledges it when all in-sync replicas have it (acks=all). Topics are never created.

exit codes: 0 sent, 1 the server cannot be reached or rejects it, 2 the arguments, the topic or the
settings cannot be used
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "publish",
        help="send an event over Redis pub/sub, a Redis Stream or Kafka",
        description="Sends one event, after setting keys in the cache if asked to.",
        epilog=_EPILOG,
    )
    parser.add_argument("type", metavar="TYPE", help="the event's type, such as order.updated")
    parser.add_argument("json", metavar="JSON", help="its data; @FILE reads a file, - stdin")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set this key in the cache first; repeatable",
    )
    parser.add_argument("--to", choices=["pubsub", "stream", "kafka"], help="how to send it")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--channel", metavar="CHANNEL", help="the channel to publish to")
    where.add_argument("--stream", metavar="KEY", help="the stream to add it to")
    where.add_argument("--topic", metavar="TOPIC", help="the Kafka topic to write to")
    parser.add_argument(
        "--header",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a header of the record, or a field of the stream entry; repeatable",
    )
    parser.add_argument(
        "--record-key",
        metavar="KEY",
        help="the key of the Kafka record, which decides the partition",
    )
    parser.add_argument(
        "--partition", metavar="N", type=whole(0), help="the Kafka partition, regardless of the key"
    )
    parser.add_argument(
        "--redis-url", metavar="URL", help="the Redis to use instead of the configured ones"
    )
    parser.add_argument(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="the Kafka to use instead of the configured one",
    )
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.settings import load

    named = _named(args)
    event = _event(args.type, content(args.json))
    pairs = [pair("--set", text) for text in args.set]
    headers = [pair("--header", text) for text in args.header]
    settings = load(
        args.env_file,
        redis_url=args.redis_url,
        source_redis_url=args.redis_url,
        kafka__bootstrap_servers=args.bootstrap_servers,
        kafka__topics=args.topic,
    )
    to = named or _configured(settings)
    if headers and to == "pubsub":
        raise UsageError("--header: a message over pub/sub has no headers")
    asyncio.run(_send(args, settings, to, pairs, (event, headers)))
    return 0


def _named(args: argparse.Namespace) -> str | None:
    """Return how to send the event if the arguments say so."""
    said = [(name, way) for name, way in _ONLY_TO.items() if getattr(args, name) is not None]
    to = args.to or (said[0][1] if said else None)
    for name, way in said:
        if way != to:
            other = f"--to {to}" if args.to else f"--{said[0][0].replace('_', '-')}"
            raise UsageError(f"{other} cannot be used with --{name.replace('_', '-')}")
    return to


def _configured(settings: "Settings") -> str:
    if settings.pubsub.channels or settings.pubsub.sharded_channels:
        return "pubsub"
    if settings.streams.keys:
        return "stream"
    return "kafka" if settings.kafka.topics else "pubsub"


def _channel(settings: "Settings") -> str:
    plain, sharded = settings.pubsub.channels, settings.pubsub.sharded_channels
    return _literal(plain, "*?[\\") if plain or not sharded else sharded[0]


async def _send(
    args: argparse.Namespace,
    settings: "Settings",
    to: str,
    pairs: list[tuple[str, str]],
    event: "Event",
) -> None:
    from invalidator.cli import send

    if pairs:
        await send.set_keys(settings, pairs)
    if to == "pubsub":
        channel = args.channel or _channel(settings)
        await send.to_channel(settings, channel, event)
    elif to == "stream":
        stream = args.stream or next(iter(settings.streams.keys), _DEFAULT)
        await send.to_stream(settings, stream, event)
    else:
        await _to_kafka(args, settings, event)


async def _to_kafka(args: argparse.Namespace, settings: "Settings", event: "Event") -> None:
    from invalidator.cli.send import Record, to_topic

    if not settings.kafka.bootstrap_servers:
        raise UsageError(
            "no Kafka is configured: set INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS and "
            "INVALIDATOR_KAFKA__TOPICS, or use --bootstrap-servers and --topic"
        )
    topic = _literal([name for name in settings.kafka.topics if not name.startswith("^")], "")
    await to_topic(settings.kafka, Record(topic, event, args.record_key, args.partition))


def _event(kind: str, raw: bytes) -> dict[str, Any]:
    import orjson

    try:
        data = orjson.loads(raw)  # only a check: the text itself is sent
    except orjson.JSONDecodeError as error:
        text = raw.decode(errors="replace")
        raise UsageError(_not_json(text, error.msg, error.lineno, error.colno)) from None
    if not isinstance(data, dict):
        raise UsageError(
            f'the data is not a JSON object such as {{"id": 1}}: {raw.decode().strip()[:60]}'
        )
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": kind, "data": orjson.Fragment(raw), "id": str(uuid4()), "time": time}


def _not_json(text: str, reason: str, line: int, column: int) -> str:
    found = text.splitlines()[line - 1] if text.strip() else ""
    start = max(0, column - 40)
    shown = found[start : column + 40]
    return (
        f"the data is not JSON: {reason}, at line {line}, column {column}\n"
        f"  {shown}\n  {' ' * (column - 1 - start)}^"
    )


def _literal(names: "Sequence[str]", special: str) -> str:
    """Return the first name that is not a pattern."""
    return next((name for name in names if not set(special) & set(name)), _DEFAULT)
