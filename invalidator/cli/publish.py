"""`invalidator publish`: send an event, after setting keys in the cache if asked to."""

import argparse
from typing import TYPE_CHECKING, Final

from invalidator.cli.columns import table, wrapped
from invalidator.cli.common import (
    UsageError,
    Verbs,
    add_json,
    add_rules,
    add_settings,
    as_json,
    clients,
    content,
    pair,
    rules_path,
    say,
    settings_of,
    warn,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from invalidator.cli.effect import Awaited
    from invalidator.cli.send import Sent, Target
    from invalidator.cli.wire import Wire
    from invalidator.rules import RuleSet
    from invalidator.rules.explain.explain import Explanation
    from invalidator.settings import Settings

WITHIN: Final = 5.0  # seconds that an effect is waited for
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
  invalidator publish order.updated '{"orderId": "ord_1"}' --wait
      waits until everything that the rules name for it is invalidated
  invalidator publish order.updated '{"orderId": "ord_1"}' \\
    --set order:single:ord_1='{"total": 5}'
      first sets this key in the cache, then waits until it is gone
  invalidator publish user.deleted @user.json --channel users
  jq .payload message.json | invalidator publish user.deleted -
  invalidator publish order.updated '{"orderId": "ord_1"}' --stream orders
  invalidator publish order.updated '{"orderId": "ord_1"}' --topic orders \\
    --record-key ord_1
      all records of one key share a partition
  invalidator publish --raw @captured.json --topic orders
      sends a whole event as it is

The event is {"type": TYPE, "data": JSON, "id": ..., "time": ...}, unless the rules have another envelope: then it is built by that. Without --to, the other options decide where it goes, otherwise the settings: to the first channel, stream or topic, in this order, that is not a pattern. Without any of them it goes to the channel `events`.

Kafka acknowledges it when all in-sync replicas have it (acks=all). Topics are never created.

exit codes:
  0  sent, and what was waited for happened
  1  the server cannot be reached or rejects it, nobody received it, or it had no effect within 5 s
  2  the arguments, the topic, the rules or the settings cannot be used
"""  # noqa: E501 - help is wrapped when it is shown


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "publish",
        help="send an event over Redis pub/sub, a Redis Stream or Kafka",
        description="Sends one event, after setting keys in the cache if asked to. With --set or "
        "--wait, waits until it took effect.",
        epilog=_EPILOG,
    )
    parser.add_argument("type", metavar="TYPE", nargs="?", help="such as order.updated")
    parser.add_argument(
        "data", metavar="JSON", nargs="?", help="its data; @FILE reads a file, - stdin"
    )
    parser.add_argument(
        "--raw", metavar="JSON", help="a whole event instead; @FILE, or - for stdin"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set this key in the cache first, and wait until it is gone; repeatable",
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait until all that the rules name is invalidated"
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
    parser.add_argument("--record-key", metavar="KEY", help="of the Kafka record")
    parser.add_argument(
        "--partition", metavar="N", type=whole(0), help="the Kafka partition, regardless of the key"
    )
    parser.add_argument(
        "--bootstrap-servers", metavar="HOST:PORT", help="the Kafka instead of the configured one"
    )
    add_rules(parser)
    add_settings(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.cli.send import Target
    from invalidator.runtime import logs

    named = _named(args)
    if (args.raw is None) == (args.type is None) or (args.type is None) != (args.data is None):
        raise UsageError("expected TYPE and JSON, or --raw JSON")
    pairs = [pair("--set", text) for text in args.set]
    headers = [pair("--header", text) for text in args.header]
    settings = settings_of(
        args, kafka__bootstrap_servers=args.bootstrap_servers, kafka__topics=args.topic
    )
    logs.configure("console", "error")
    to = named or _configured(settings)
    if headers and to == "pubsub":
        raise UsageError("--header: a message over pub/sub has no headers")
    target = Target(to, _place(args, settings, to), args.record_key, args.partition)
    rules = _rules(args, settings)
    wire = _wire(args, target, rules)
    wire.headers = [*wire.headers, *headers]
    return asyncio.run(_Publication(args, settings, target, wire, rules, pairs).run())


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


def _place(args: argparse.Namespace, settings: "Settings", to: str) -> str:
    """Return the channel, stream or topic. Raises UsageError where nobody would read it."""
    if to == "pubsub":
        named, configured = args.channel, settings.pubsub.channels
        sharded = settings.pubsub.sharded_channels
        literal = [name for name in configured if not set("*?[\\") & set(name)] or [*sharded]
    elif to == "stream":
        named, configured = args.stream, settings.streams.keys
        literal = [*configured]
    else:
        if not settings.kafka.bootstrap_servers:
            raise UsageError(
                "no Kafka is configured: set INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS and "
                "INVALIDATOR_KAFKA__TOPICS, or use --bootstrap-servers and --topic"
            )
        named, configured = args.topic, settings.kafka.topics
        literal = [name for name in configured if not name.startswith("^")]
    if named or literal:
        return str(named or literal[0])
    if configured:
        raise UsageError(
            f"only patterns are read ({', '.join(configured)}), so the event needs a name that "
            f"matches: --{'channel' if to == 'pubsub' else 'topic'} NAME"
        )
    return _DEFAULT


def _rules(args: argparse.Namespace, settings: "Settings") -> "RuleSet | None":
    """Return the rules; None where there are none that can be used, unless they were named."""
    from invalidator.errors import RulesError
    from invalidator.rules import load

    try:
        return load(rules_path(args) if args.rules else settings.rules)
    except RulesError:
        if args.rules or args.wait:
            raise
        return None


def _wire(args: argparse.Namespace, target: "Target", rules: "RuleSet | None") -> "Wire":
    from invalidator.cli.wire import built, raw
    from invalidator.rules.envelope import Envelope

    if args.raw is not None:
        return raw(content(args.raw))
    envelope = rules.engine(target.place).envelope if rules else Envelope()
    wire = built(args.type, content(args.data), envelope, headers=target.to != "pubsub")
    told = _told(rules, target, wire)
    read = told.event.type if told and told.event else ""
    if told and read != args.type:
        found = told.fault.message if told.fault else f"it would be {read!r}"
        raise UsageError(f"the rules do not read this as {args.type}: {found}. Send it with --raw")
    return wire


def _told(rules: "RuleSet | None", target: "Target", wire: "Wire") -> "Explanation | None":
    """Return what the rules here make of the event."""
    from invalidator.model import Record

    headers = tuple((name, value.encode()) for name, value in wire.headers)
    key = None if target.key is None else target.key.encode()
    return (
        rules.explain(Record(target.to, target.place, "", wire.body, key, headers))
        if rules
        else None
    )


class _Publication:
    """One event on its way, and what is waited for."""

    def __init__(
        self,
        args: argparse.Namespace,
        settings: "Settings",
        target: "Target",
        wire: "Wire",
        rules: "RuleSet | None",
        pairs: "Sequence[tuple[str, str]]",
    ) -> None:
        self._args = args
        self._settings = settings
        self._target = target
        self._wire = wire
        self._told = _told(rules, target, wire)
        self._pairs = pairs
        self._keys = [key for key, _ in pairs]

    async def run(self) -> int:
        from invalidator.cli import send
        from invalidator.cli.effect import Announced, watch_keys

        awaited = self._awaited()
        async with send.redis(self._settings, self._settings.redis_url) as (cache, server):
            if self._pairs:
                await send.set_keys(cache, server, self._pairs)
                self._say(f"set {', '.join(self._keys)}")
            listeners = clients(self._settings) if self._args.wait else {}
            async with Announced(listeners, awaited) as announced:
                sent = await send.send(self._settings, self._target, self._wire)
                self._say(sent.said)
                awaited.sent(sent.at)
                if sent.warning:
                    warn(f"warning: {sent.warning}")
                elif awaited.left:
                    await self._wait(awaited, watch_keys(cache, server, self._keys, awaited))
        done = not (sent.lost or awaited.left)
        if self._args.json:
            self._print(sent, awaited)
        elif awaited.left and not sent.warning:
            _advise(awaited, self._told, heard=announced.heard or not self._args.wait)
        return int(not done)

    def _awaited(self) -> "Awaited":
        from invalidator.cli.effect import Awaited, rules_of

        names = {("keys", key) for key in self._keys}
        if self._args.wait and self._told:
            names |= {(name.kind, name.name) for name in self._told.names}
            if not names:
                raise UsageError(
                    "the rules name nothing for this event, so there is nothing to wait for: "
                    "`invalidator explain` says why"
                )
        rules = rules_of(self._told, self._keys)
        return Awaited(rules, lambda effect: self._say(str(effect)), names)

    async def _wait(self, awaited: "Awaited", keys: "Coroutine[None, None, None]") -> None:
        import asyncio

        looking = asyncio.create_task(keys)
        try:
            async with asyncio.timeout(WITHIN):
                await awaited.all_done.wait()
        except TimeoutError:
            pass
        finally:
            looking.cancel()

    def _say(self, text: str) -> None:
        if not self._args.json:
            say(text)

    def _print(self, sent: "Sent", awaited: "Awaited") -> None:
        from msgspec import to_builtins

        told = {
            "type": self._wire.type,
            "id": self._wire.id or None,
            "to": self._target.to,
            "place": self._target.place,
            "server": sent.server,
            "warning": sent.warning or None,
            "effects": to_builtins(awaited.effects),
            "missing": [{"kind": kind, "name": name} for kind, name in sorted(awaited.left)],
        }
        print(as_json(told))


def _advise(awaited: "Awaited", told: "Explanation | None", *, heard: bool) -> None:
    """Say what had no effect, and what to look at."""
    for kind, name in sorted(awaited.left):
        still = "still exists" if kind == "keys" else "was not invalidated"
        warn(f"no effect within {WITHIN:g} s: {kind.removesuffix('s')} {name} {still}")
    unnamed = [name for entry in awaited.left if (name := entry[1]) and entry not in awaited.rules]
    if told and unnamed:
        names = ", ".join(dict.fromkeys(name.name for name in told.names)) or "nothing"
        warn("\n".join(wrapped(f"For this event, the rules here name {names}.")))
    if not heard:
        warn("No daemon announces on this Redis what it deletes: does one run here?")
    checks = [
        ("invalidator status", "does a daemon run, and read this?"),
        ("invalidator explain EVENT", "do the rules name it?"),
        ("invalidator dead list --since 1m", "was the event rejected?"),
    ]
    warn("Check:")
    warn("\n".join(table(checks, indent="  ")))
