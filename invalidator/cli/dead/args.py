"""Arguments that choose dead letters, and dead letters as text."""

import argparse
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from invalidator.cli.columns import age
from invalidator.cli.common import UsageError
from invalidator.runtime.units import parse_duration

if TYPE_CHECKING:
    from invalidator.deadletters.shelf import Choice
    from invalidator.settings import Settings

_FILTERS = {
    "type": "of this event type",
    "rule": "that this rule rejected",
    "error": "with this error, such as missing-field",
    "source": "from this kind of source (kafka, stream, pubsub), topic, stream or channel",
}
_EXPECTED = "how long ago, such as 30m or 7d, or a time such as 2026-11-27T08:30"
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")  # of an entry


def add_choice(parser: argparse.ArgumentParser, *, ids: bool) -> None:
    if ids:
        parser.add_argument("ids", metavar="ID", nargs="*", help="these, as `list` shows them")
        parser.add_argument("--all", action="store_true", help="all of them")
    for name, meaning in _FILTERS.items():
        parser.add_argument(
            f"--{name}", metavar=name.upper(), default="", help=f"only those {meaning}"
        )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        type=_since,
        default=0,
        help=f"only those written since: {_EXPECTED}",
    )


def choice(args: argparse.Namespace) -> "Choice":
    from invalidator.deadletters.shelf import Choice, Filter

    given = {name: getattr(args, name) for name in _FILTERS}
    return Choice(getattr(args, "ids", ()), Filter(**given), args.since)


def expect_choice(args: argparse.Namespace) -> None:
    """Raise UsageError unless it is clear which entries are meant."""
    filtered = args.since or any(getattr(args, name) for name in _FILTERS)
    if sum(map(bool, (args.ids, args.all, filtered))) != 1:
        raise UsageError("expected IDs, or filters such as --rule, or --all; and only one of these")
    expect_ids(args.ids)


def expect_ids(ids: list[str]) -> None:
    if wrong := [each for each in ids if not _ID.fullmatch(each)]:
        raise UsageError(f"expected an id such as 1795000000250-0, found {', '.join(wrong)}")


def _since(text: str, now: Callable[[], float] = time.time) -> int:
    """Return Unix milliseconds."""
    try:
        return max(0, int((now() - parse_duration(text)) * 1000))
    except ValueError:
        pass
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {_EXPECTED}; found {text!r}") from None


LONGEST = 4000  # characters of a line


def expect_stream(settings: "Settings") -> None:
    """Raise UsageError if dead letters go to a Kafka topic."""
    if topic := settings.dead_letters.topic:
        brokers = ",".join(settings.kafka.bootstrap_servers)
        raise UsageError(
            f"dead letters go to the topic {topic} (INVALIDATOR_DEAD_LETTERS__TOPIC), which "
            "Kafka's tools can read, for example\n"
            f"  kcat -b {brokers} -C -e -t {topic} -f '%h\\n%s\\n'\n"
            "docs/dead-letters.md explains how to send them again. To work on entries in the "
            "stream, leave that setting empty"
        )


def ago(ms: int | None) -> str:
    """Return how long ago a time was: `3m`."""
    return age(time.time() - ms / 1000) if ms else "?"


def when(ms: int | None) -> str:
    if not ms:
        return "unknown"
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return str(ms)
