"""`invalidator replay`: events that were read before, once more through the rules of today."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from invalidator.cli.common import INTERRUPTED, UsageError, Verbs

if TYPE_CHECKING:
    from invalidator.daemon.once import Progress
    from invalidator.rules import RuleSet
    from invalidator.runtime.terminal import Progress as Bar
    from invalidator.settings import Settings
    from invalidator.sources.kafka.replay import KafkaReplay
    from invalidator.sources.replay import Ids, Offsets, Times
    from invalidator.sources.stream.replay import StreamPast

_EPILOG = """\
examples:
  invalidator replay --since 10m                 what was published in the last ten minutes
  invalidator replay --since 1h --dry-run        how much that is; nothing is deleted
  invalidator replay --from 2026-11-27T10:00Z --to 2026-11-27T10:30Z --rate 500
  invalidator replay --since 1h --topic orders   of this topic only
  invalidator replay --topic orders --partition 3 --offset 1042 --until-offset 2000
  invalidator replay --stream orders --id 1764237600000-0

It reads the topics and streams of the settings, or those that are named, from there to what is
there when it begins. No group's position moves, and daemons go on meanwhile. Deleting twice is
harmless; versions are raised once more. What can never work becomes a dead letter, as the first
time. Pub/sub keeps nothing to read again. Times without a zone are UTC; Kafka goes by the times in
its records, a stream by its ids.

exit codes:
  0    all of it was read and applied, or is a dead letter
  1    an unexpected failure
  2    the command line, the settings or the rules cannot be used; what is asked for is not
       kept, or cannot be read
  130  interrupted; what had been read until then is applied
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "replay",
        help="apply events of some time ago once more",
        description="Reads events of Kafka and of streams once more, by time or by position, and "
        "applies them by\nthe rules in force. A server that is away is waited for.",
        epilog=_EPILOG,
    )
    when = parser.add_argument_group("by time")
    when.add_argument("--since", metavar="AGO", help="how far back from now: 10m, 2h, 1d")
    when.add_argument("--from", dest="since_time", metavar="TIME", help="2026-11-27T10:00Z")
    when.add_argument("--to", dest="until_time", metavar="TIME", help="default: now")
    where = parser.add_argument_group("what, and by position")
    where.add_argument("--topic", metavar="NAME", help="only this Kafka topic")
    where.add_argument("--partition", metavar="P", type=_number, help="of --topic, with --offset")
    where.add_argument("--offset", metavar="N", type=_number, help="the first to read")
    where.add_argument("--until-offset", metavar="N", type=_number, help="read what is before it")
    where.add_argument("--stream", metavar="KEY", help="only this Redis Stream")
    where.add_argument("--id", metavar="ID", help="of --stream, the first to read")
    where.add_argument("--until-id", metavar="ID", help="read what is before it")
    parser.add_argument(
        "--rate", metavar="N", type=_number, default=0, help="events a second at most"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and plan, but write nothing")
    parser.add_argument("--rules", metavar="PATH", help="rules file or directory")
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.cli.rules_path import rules_path
    from invalidator.rules import load as load_rules
    from invalidator.runtime import logs
    from invalidator.settings import load

    _check(args)
    wanted = _wanted(args)
    settings = load(args.env_file, **({"dry_run": "true"} if args.dry_run else {}))
    rules = load_rules(rules_path(args.rules) if args.rules else settings.rules)
    logs.configure("console", "warning")
    sources = list(_sources(args, settings, wanted))
    return asyncio.run(_replay(args, settings, rules, sources))


async def _replay(
    args: argparse.Namespace,
    settings: "Settings",
    rules: "RuleSet",
    sources: "list[KafkaReplay | StreamPast]",
) -> int:
    from invalidator.daemon.once import once
    from invalidator.runtime.terminal import Progress as Bar
    from invalidator.settings.caches import strangers
    from invalidator.sources.replay import NotThere

    if unknown := [*strangers(settings, rules.caches)]:
        raise UsageError("\n".join(unknown))
    for source in sources:
        with Bar("events read again", sys.stderr) as bar:
            tell = partial(_show, bar)
            try:
                said = await once(source, settings, rules, per_second=args.rate, tell=tell)
            except NotThere as error:
                raise UsageError(str(error)) from error
        _report(source, said, dry_run=settings.dry_run)
        if not said.complete:
            return INTERRUPTED
    return 0


def _show(bar: "Bar", progress: "Progress") -> None:
    rejected = f"{progress.rejected:,} rejected" if progress.rejected else ""
    bar.show(progress.settled, progress.total or 0, rejected)


def _report(source: "KafkaReplay | StreamPast", said: "Progress", *, dry_run: bool) -> None:
    for part in source.parts:
        if part.events != 0:
            print(f"{source.name} {part.name}: from {part.first} to {part.until}")
    done = "planned, nothing was written" if dry_run else "applied"
    ended = "" if said.complete else "interrupted; "
    rejected = f"; {said.rejected:,} of them rejected" if said.rejected else ""
    events = f"{said.settled:,} event{'s' * (said.settled != 1)}"
    print(f"{source.name}: {ended}{events} {done}{rejected}")


# --- what is meant ------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> None:
    """What cannot be meant is said before anything is read."""
    by_time = args.since is not None or args.since_time is not None
    by_offset = args.offset is not None
    by_id = args.id is not None
    if by_time + by_offset + by_id != 1:
        raise UsageError(
            "say from where: --since AGO, --from TIME, --topic T --partition P --offset N, "
            "or --stream KEY --id ID; one of them"
        )
    wrong = [
        (args.since is not None and args.since_time is not None, "--since and --from are the same"),
        (args.until_time is not None and not by_time, "--to goes with --since or --from"),
        (by_offset and (args.topic is None or args.partition is None),
         "--offset needs --topic and --partition: each partition counts for itself"),
        (not by_offset and args.partition is not None, "--partition goes with --offset"),
        (not by_offset and args.until_offset is not None, "--until-offset goes with --offset"),
        (by_id and args.stream is None, "--id needs --stream"),
        (not by_id and args.until_id is not None, "--until-id goes with --id"),
        (args.topic is not None and args.stream is not None, "--topic and --stream: one of them"),
    ]  # fmt: skip
    for found, said in wrong:
        if found:
            raise UsageError(said)


def _sources(
    args: argparse.Namespace, settings: "Settings", wanted: "Times | Offsets | Ids"
) -> "Iterator[KafkaReplay | StreamPast]":
    from invalidator.sources.replay import Ids, Times

    topics = [args.topic] if args.topic else settings.kafka.topics
    streams = [args.stream] if args.stream else settings.streams.keys
    if topics and not args.stream and not isinstance(wanted, Ids):
        yield _kafka(settings, topics, wanted)
    if streams and not args.topic:
        if isinstance(wanted, Times):
            wanted = Ids((wanted.since, 0), (wanted.until, 0) if wanted.until else None)
        assert isinstance(wanted, Ids)
        yield _stream(settings, streams, wanted)
    if not topics and not streams:
        raise UsageError(
            "no source keeps events: set INVALIDATOR_KAFKA__TOPICS or INVALIDATOR_STREAMS__KEYS, "
            "or name a --topic or --stream. Pub/sub keeps nothing"
        )


def _kafka(settings: "Settings", topics: Sequence[str], wanted: "Times | Offsets") -> "KafkaReplay":
    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.replay import KafkaReplay

    kafka = settings.kafka
    if not kafka.bootstrap_servers:
        raise UsageError("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS is not set")
    return KafkaReplay(Brokers.of(kafka), topics, wanted)


def _stream(settings: "Settings", keys: Sequence[str], wanted: "Ids") -> "StreamPast":
    from invalidator.redisclient import client
    from invalidator.sources.stream.replay import StreamPast

    url = settings.source_redis_url.get_secret_value()
    redis = client(url, settings.redis_timeout, settings.redis_tls.options())
    return StreamPast(redis, keys, wanted)


def _wanted(args: argparse.Namespace) -> "Times | Offsets | Ids":
    from invalidator.sources.replay import Ids, Offsets

    if args.offset is not None:
        return Offsets(args.topic, args.partition, args.offset, args.until_offset)
    if args.id is not None:
        until = _id(args.until_id, "--until-id") if args.until_id is not None else None
        return Ids(_id(args.id, "--id"), until)
    return _times(args)


def _times(args: argparse.Namespace) -> "Times":
    from invalidator.runtime.units import parse_duration
    from invalidator.sources.replay import Times

    now = time.time()
    if args.since is not None:
        try:
            since = max(0, int((now - parse_duration(args.since)) * 1000))
        except ValueError as error:
            raise UsageError(f"--since {args.since}: expected {error}") from None
    else:
        since = _time(args.since_time, "--from")
    until = _time(args.until_time, "--to") if args.until_time is not None else None
    if since > now * 1000:
        raise UsageError("it would begin in the future")
    if until is not None and until <= since:
        raise UsageError("it would end before it begins")
    return Times(since, until)


def _time(text: str, option: str) -> int:
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text}: expected a time such as 2026-11-27T10:00Z or "
            "2026-11-27T10:00:00+01:00"
        ) from None
    return max(0, int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000))


def _id(text: str, option: str) -> tuple[int, int]:
    from invalidator.sources.stream.entries import parse_id

    try:
        return parse_id(text.encode())
    except ValueError:
        raise UsageError(f"{option} {text}: expected an id such as 1764237600000-0") from None


def _number(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, not {text!r}")
    return int(text)
