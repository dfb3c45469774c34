"""`invalidator replay`: apply past events again, by the rules in force."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from invalidator.cli.common import INTERRUPTED, UsageError, Verbs, plural, rules_path, say, whole

if TYPE_CHECKING:
    from invalidator.daemon.once import Progress
    from invalidator.rules import RuleSet
    from invalidator.runtime.terminal import Progress as Bar
    from invalidator.settings import Settings
    from invalidator.sources.kafka.replay import KafkaReplay
    from invalidator.sources.replay import Ids, Offsets, Times
    from invalidator.sources.stream.replay import StreamReplay

_EPILOG = """\
examples:
  invalidator replay --since 10m                 what was published in the last ten minutes
  invalidator replay --since 1h --dry-run        only count the events; nothing is deleted
  invalidator replay --from 2026-11-27T10:00Z --to 2026-11-27T10:30Z --rate 500
  invalidator replay --since 1h --topic orders   only this topic
  invalidator replay --topic orders --partition 3 --offset 1042 --until-offset 2000
  invalidator replay --stream orders --id 1764237600000-0

It reads the topics and streams in the settings, or those you name, from the given position to the
end as it is when the replay starts. It moves no group's position, and daemons keep running.
Deleting twice is harmless; versions are raised again. Events that can never be applied become dead
letters, as the first time. Pub/sub keeps nothing that could be replayed. Times without a zone are
UTC; they are compared with the records' timestamps in Kafka, and with the ids in streams.

exit codes:
  0    all events were read and applied, or are dead letters
  1    an unexpected failure
  2    the command line, the settings or the rules cannot be used, or the events are no longer
       kept or cannot be read
  130  interrupted; what was read before is applied
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "replay",
        help="apply past events again",
        description="Reads events from Kafka and streams again, by time or by position, and "
        "applies them by\nthe rules in force. It waits while a server is unavailable.",
        epilog=_EPILOG,
    )
    when = parser.add_argument_group("by time")
    when.add_argument("--since", metavar="AGO", help="how far back: 10m, 2h, 1d")
    when.add_argument("--from", dest="since_time", metavar="TIME", help="2026-11-27T10:00Z")
    when.add_argument("--to", dest="until_time", metavar="TIME", help="default: now")
    where = parser.add_argument_group("topics and streams, by position")
    where.add_argument("--topic", metavar="NAME", help="only this Kafka topic")
    where.add_argument(
        "--partition", metavar="P", type=whole(0), help="the partition, with --topic and --offset"
    )
    where.add_argument("--offset", metavar="N", type=whole(0), help="the first to read")
    where.add_argument("--until-offset", metavar="N", type=whole(0), help="stop before it")
    where.add_argument("--stream", metavar="KEY", help="only this Redis Stream")
    where.add_argument("--id", metavar="ID", help="the first to read, with --stream")
    where.add_argument("--until-id", metavar="ID", help="stop before it")
    parser.add_argument(
        "--rate", metavar="N", type=whole(0), default=0, help="at most N events per second"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and plan, but write nothing")
    parser.add_argument("--rules", metavar="PATH", help="rules file or directory")
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

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
    sources: "list[KafkaReplay | StreamReplay]",
) -> int:
    from invalidator.daemon.once import once
    from invalidator.runtime.terminal import Progress as Bar
    from invalidator.settings.caches import check_caches
    from invalidator.sources.replay import NotThere

    check_caches(settings, rules.caches)
    for source in sources:
        with Bar("events replayed", sys.stderr) as bar:
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


def _report(source: "KafkaReplay | StreamReplay", said: "Progress", *, dry_run: bool) -> None:
    for part in source.parts:
        if part.events != 0:
            say(f"{source.name} {part.name}: from {part.first} to {part.until}")
    done = "planned, nothing was written" if dry_run else "applied"
    ended = "" if said.complete else "interrupted; "
    rejected = f"; {said.rejected:,} of them rejected" if said.rejected else ""
    say(f"{source.name}: {ended}{plural(said.settled, 'event')} {done}{rejected}")


# --- arguments ----------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError if the options contradict each other."""
    by_time = args.since is not None or args.since_time is not None
    by_offset = args.offset is not None
    by_id = args.id is not None
    if by_time + by_offset + by_id != 1:
        raise UsageError(
            "expected one of --since AGO, --from TIME, --topic T --partition P --offset N, "
            "or --stream KEY --id ID"
        )
    wrong = [
        (args.since is not None and args.since_time is not None,
         "--since and --from cannot be combined"),
        (args.until_time is not None and not by_time, "--to needs --since or --from"),
        (by_offset and (args.topic is None or args.partition is None),
         "--offset needs --topic and --partition: every partition has its own offsets"),
        (not by_offset and args.partition is not None, "--partition needs --offset"),
        (not by_offset and args.until_offset is not None, "--until-offset needs --offset"),
        (by_id and args.stream is None, "--id needs --stream"),
        (not by_id and args.until_id is not None, "--until-id needs --id"),
        (args.topic is not None and args.stream is not None,
         "--topic and --stream cannot be combined"),
    ]  # fmt: skip
    for found, said in wrong:
        if found:
            raise UsageError(said)


def _sources(
    args: argparse.Namespace, settings: "Settings", wanted: "Times | Offsets | Ids"
) -> "Iterator[KafkaReplay | StreamReplay]":
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
            "no source keeps past events: set INVALIDATOR_KAFKA__TOPICS or "
            "INVALIDATOR_STREAMS__KEYS, or use --topic or --stream. Pub/sub keeps nothing"
        )


def _kafka(settings: "Settings", topics: Sequence[str], wanted: "Times | Offsets") -> "KafkaReplay":
    from invalidator.runtime.health import Health
    from invalidator.sources.kafka import decoder_of
    from invalidator.sources.kafka.brokers import Brokers
    from invalidator.sources.kafka.replay import KafkaReplay

    kafka = settings.kafka
    if not kafka.bootstrap_servers:
        raise UsageError("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS is not set")
    brokers = Brokers.of(kafka)
    return KafkaReplay(brokers, topics, wanted, decoder_of(settings, Health(), brokers))


def _stream(settings: "Settings", keys: Sequence[str], wanted: "Ids") -> "StreamReplay":
    from invalidator.redisclient import client
    from invalidator.sources.stream.replay import StreamReplay

    url = settings.source_redis_url.get_secret_value()
    redis = client(url, settings.redis_timeout, settings.redis_tls.options())
    return StreamReplay(redis, keys, wanted)


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
        raise UsageError("the replay would begin in the future")
    if until is not None and until <= since:
        raise UsageError("the replay would end before it begins")
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
