"""`invalidator dead list|drop|stats`: work on the entries as they are stored."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing

from msgspec import Struct, field
from msgspec.structs import asdict

from invalidator.cli.columns import painted, table, width, wrapped
from invalidator.cli.common import NOT_CONFIRMED, UsageError, as_json, confirmed, plural, say, warn
from invalidator.cli.dead.args import ago, choice, expect_choice, expect_stream
from invalidator.deadletters.entry import Letter, plain
from invalidator.deadletters.shelf import Choice, DeadLetterStream
from invalidator.runtime.text import visible
from invalidator.runtime.units import show_rough_size
from invalidator.settings import Settings

AT_ONCE = 1000  # entries in a command
MOST = 20  # values of each kind that are shown
_HEAD = ("ID", "AGE", "ERROR", "TYPE", "RULE", "FROM", "TRIES", "WHY")
_TABLE = 140  # columns that a table needs; below, a letter takes several lines


async def list_entries(args: argparse.Namespace, settings: Settings) -> int:
    expect_stream(settings)
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        found, more = await _newest(args, stream)
        if args.json:
            for letter in found:
                print(as_json(plain(letter), indent=None))
        elif found:
            print("\n".join(_lines(found)))
        else:
            say(f"none, in {stream.server}")
            await _hint(args, stream)
    if more:
        warn(f"there are more: try --limit {args.limit * 10}, or a filter")
    return 0


async def _newest(args: argparse.Namespace, stream: DeadLetterStream) -> tuple[list[Letter], bool]:
    found: list[Letter] = []
    async with aclosing(stream.chosen(choice(args), newest_first=True)) as letters:
        async for letter in letters:
            if len(found) == args.limit:
                return found, True
            found.append(letter)
    return found, False


async def _hint(args: argparse.Namespace, stream: DeadLetterStream) -> None:
    """Say which values there are of a filter that nothing fits."""
    for name in ("rule", "error", "type"):
        if wanted := getattr(args, name):
            there: Counter[str] = Counter()
            async for letter in stream.chosen(Choice(since_ms=args.since)):
                there.update(set(_values(letter, name)))
            known = ", ".join(f"{visible(v)} ({n:,})" for v, n in there.most_common(MOST))
            said = f"no dead letter has the {name} {wanted}; there are {known or 'none at all'}"
            warn("\n".join(wrapped(said, indent="  ", first="")))
            return


def _values(letter: Letter, name: str) -> Iterator[str]:
    if name == "type":
        yield letter.type or "?"
    for fault in letter.faults if name != "type" else ():
        yield (fault.rule or "(the event itself)") if name == "rule" else fault.error


def _lines(letters: Sequence[Letter]) -> list[str]:
    if width() >= _TABLE:
        return table([_row(letter) for letter in letters], head=_HEAD)
    return [line for letter in letters for line in _two_lines(letter)]


def _two_lines(letter: Letter) -> Iterator[str]:
    """Yield the reason, then what was rejected."""
    entry, age, error, kind, rules, origin, tries, why = _row(letter)
    head, *more = wrapped(f"{error}: {why}", indent="    ", first="")
    yield head.replace(error, painted(error, "red"), 1)
    yield from more
    again = f"{tries} tries" if letter.attempts > 1 else ""
    by = f"by {rules}" if rules != "-" else ""
    said = "  ".join(filter(None, [age, kind, by, origin, again, entry]))
    yield from (painted(line, "dim") for line in wrapped(said, indent="    ", first="  "))


def _row(letter: Letter) -> list[str]:
    first, record = letter.faults[0], letter.record
    rules = sorted({fault.rule for fault in letter.faults if fault.rule})
    cells = [
        letter.id,
        ago(letter.failed_at),
        first.error,
        letter.type or "?",
        ", ".join(rules) or "-",
        f"{record.source} {record.origin} {record.position}".strip(),
        str(letter.attempts),
        first.message,
    ]
    return [visible(cell) for cell in cells]


async def drop(args: argparse.Namespace, settings: Settings) -> int:
    expect_stream(settings)
    expect_choice(args)
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        ids, errors = await _chosen(args, stream)
        absent = [each for each in args.ids if each not in ids]
        if absent:
            warn(f"no such entry: {', '.join(absent)}")
        if args.json and not args.yes:
            raise UsageError("--json asks no question, so it needs --yes")
        if args.json:
            print(as_json({"dropped": await _remove(stream, ids), "errors": errors}))
            return int(bool(absent))
        if not ids:
            print("nothing to drop")
            return int(bool(absent))
        say(f"{plural(len(ids), 'dead letter')} in {stream.server}:")
        for error, count in errors.most_common():
            say(f"  {count:,} {error}")
        if not (args.yes or confirmed("drop? what they name stays stale [y/N] ")):
            print("not dropped")
            return NOT_CONFIRMED
        dropped = await _remove(stream, ids)
    print(f"{plural(dropped, 'dead letter')} dropped")
    return int(bool(absent))


async def _remove(stream: DeadLetterStream, ids: Sequence[str]) -> int:
    """Remove entries, some at a time, and return how many still existed."""
    parts = [ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE)]
    return sum([await stream.remove(part) for part in parts])


async def _chosen(
    args: argparse.Namespace, stream: DeadLetterStream
) -> tuple[list[str], Counter[str]]:
    ids, errors = [], Counter[str]()
    async for letter in stream.chosen(choice(args)):
        ids.append(letter.id)
        errors[letter.faults[0].error] += 1
    return ids, errors


class Stats(Struct):
    """Figures about all dead letters."""

    entries: int = 0
    bytes: int = 0  # of their events
    oldest: int = 0  # when it was written, Unix milliseconds
    newest: int = 0
    tried_again: int = 0
    not_replayable: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, letter: Letter) -> None:
        record = letter.record
        written = int(letter.id.partition("-")[0])
        self.oldest = self.oldest or written
        self.newest = written
        self.entries += 1
        self.bytes += len(record.raw or b"")
        self.tried_again += letter.attempts > 1
        self.not_replayable += bool(letter.lacks)
        self.errors.update({fault.error for fault in letter.faults})
        self.rules.update({fault.rule or "(the event itself)" for fault in letter.faults})
        self.types[letter.type or "?"] += 1
        self.sources[f"{record.source} {record.origin}".strip()] += 1


async def stats(args: argparse.Namespace, settings: Settings) -> int:
    expect_stream(settings)
    found = Stats()
    async with aclosing(DeadLetterStream.of(settings)) as stream:
        async for letter in stream.chosen(Choice()):
            found.add(letter)
        server = stream.server
    if args.json:
        print(as_json(asdict(found)))
    else:
        _show(found, settings, server)
    return 0


def _show(stats: Stats, settings: Settings, server: str) -> None:
    if not stats.entries:
        say(f"none, in {server}")
        return
    kept = settings.dead_letters
    most = f" of at most {kept.max_length:,}" if kept.max_length else ""
    size = f"{show_rough_size(stats.bytes)} of events"
    letters = painted(plural(stats.entries, "dead letter"), "red")
    print("\n".join(wrapped(f"{letters}{most}, {size}, in {server}", indent="  ", first="")))
    print(f"written {ago(stats.oldest)} to {ago(stats.newest)} ago")
    if stats.tried_again:
        print(f"{stats.tried_again:,} were replayed, and rejected again")
    if stats.not_replayable:
        print(f"{stats.not_replayable:,} cannot be replayed: no event, or masked values")
    for name in ("errors", "rules", "types", "sources"):
        print(f"\nby {name.removesuffix('s')}")
        for value, count in getattr(stats, name).most_common(MOST):
            say(f"  {count:9,}  {visible(value)}")
