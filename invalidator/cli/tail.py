"""`invalidator tail`: show live what is invalidated."""

import argparse
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from invalidator.cli.columns import painted, width
from invalidator.cli.common import (
    UsageError,
    Verbs,
    add_json,
    add_rules,
    add_settings,
    as_json,
    clients,
    rules_path,
    settings_of,
    warn,
)
from invalidator.runtime.terminal import Colour, printable

if TYPE_CHECKING:
    from invalidator.cli.listen import Gap, Lost
    from invalidator.targets.redis.messages import Message

_EPILOG = """\
examples:
  invalidator tail                                everything, one name per line
  invalidator tail --cache users --kind tags
  invalidator tail --rule order-changed           what that rule could have named
  invalidator tail --json | jq -r '.names[]?'     one message per line, see docs/backplane.md

Lines that begin with -- report missed messages and lost connections. Messages carry no rule: --rule
shows the names that the rule's templates could have produced, and warns if the rules here differ
from those of a daemon.

exit codes: 0 after --count messages, 2 no such rule or setting, 130 interrupted
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "tail",
        help="show live what is invalidated",
        description="Prints what daemons announce on the channel invalidator:applied of each Redis "
        "that holds a\ncache, until it is interrupted.",
        epilog=_EPILOG,
    )
    several: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--cache", metavar="NAME", help="only this cache; repeatable", **several)
    parser.add_argument(
        "--kind",
        choices=("keys", "patterns", "tags", "versions"),
        help="only names of this kind; repeatable",
        **several,
    )
    parser.add_argument(
        "--rule", metavar="NAME", help="only what it could have named; repeatable", **several
    )
    add_rules(parser)
    add_json(parser, "print JSON, one message per line")
    parser.add_argument("--count", metavar="N", type=int, help="exit after N messages")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import asyncio

    from invalidator.cli.listen import listen
    from invalidator.runtime import logs

    settings = settings_of(args)
    printer = Printer(_filter(args), as_json=args.json, count=args.count)
    logs.configure("console", "error")

    asyncio.run(listen(clients(settings), printer.tell))
    return 0


Wanted = Callable[["Message"], tuple[str, ...]]


def _filter(args: argparse.Namespace) -> Wanted:
    """Return a function that picks the wanted names of a message."""
    by_rule = _by_rule(args) if args.rule else lambda message: message.names

    def wanted(message: "Message") -> tuple[str, ...]:
        fits = not args.cache or message.cache in args.cache
        fits = fits and (not args.kind or message.kind in args.kind)
        return by_rule(message) if fits else ()

    return wanted


def _by_rule(args: argparse.Namespace) -> Wanted:
    from invalidator.rules import load
    from invalidator.rules.explain.reach import could_name

    ruleset = load(rules_path(args))
    rules = {rule.name: rule for rule in ruleset.rules}
    if unknown := [name for name in args.rule if name not in rules]:
        raise UsageError(
            f"no such rule: {', '.join(unknown)}; there are {', '.join(sorted(rules))}"
        )
    chosen = [rules[name] for name in args.rule]
    checks = [(rule.cache, could_name(rule, ruleset.caches[rule.cache])) for rule in chosen]
    said: set[str] = set()

    def wanted(message: "Message") -> tuple[str, ...]:
        hashed, kind = message.cause.rules if message.cause else "", message.kind
        if hashed and hashed != ruleset.hash and hashed not in said:
            said.add(hashed)
            warn(
                f"-- a daemon uses the rules {hashed}, those here are {ruleset.hash}: "
                "what is shown by rule may be wrong or incomplete"
            )
        if kind is None or not hashed:
            return ()
        could = [check for cache, check in checks if cache == message.cache]
        return tuple(name for name in message.names if any(check(kind, name) for check in could))

    return wanted


class Printer:
    """Print what was received. `tell` returns true when enough was printed."""

    def __init__(self, wanted: Wanted, *, as_json: bool, count: int | None = None) -> None:
        self._wanted = wanted
        self._as_json = as_json
        self._left = count

    def tell(self, received: "Message | Gap | Lost") -> bool:
        from invalidator.targets.redis.messages import Message

        if not isinstance(received, Message):
            self._print(_plain(received) if self._as_json else f"-- {received}", "yellow")
            return False
        names = self._wanted(received)
        if not names or received.type != "applied":
            return False
        if self._as_json:
            self._print(_message(received, names))
        else:
            self._print("\n".join(_lines(received, names)))
        if self._left is not None:
            self._left -= 1
        return self._left is not None and self._left <= 0

    def _print(self, said: "str | Mapping[str, Any]", colour: "Colour | None" = None) -> None:
        text = printable(said if isinstance(said, str) else as_json(said, indent=None))
        print(painted(text, colour) if colour and isinstance(said, str) else text, flush=True)


def _lines(message: "Message", names: tuple[str, ...]) -> list[str]:
    time = datetime.fromtimestamp(message.time / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    head = f"{time}  {message.cache}  {message.kind:8}  "
    cause = message.cause
    by = f"  {cause.source}" if cause else ""
    if cause and cause.who:
        by += f" by {cause.who}: {cause.why}"
    lines = []
    for name in names:
        fits = len(head) + len(name) + len(by) <= width()
        lines += [f"{head}{name}{by}"] if fits else [f"{head}{name}", f"{' ' * len(time)}{by}"]
    return lines


def _message(message: "Message", names: tuple[str, ...]) -> dict[str, Any]:
    from msgspec import to_builtins

    cause = to_builtins(message.cause) if message.cause else {}
    return {
        **_plain(message.sender),
        "seq": message.seq,
        "time": message.time,
        "cache": message.cache,
        "kind": message.kind,
        "names": names,
        **{name: value for name, value in cause.items() if value or name in ("source", "rules")},
    }


def _plain(found: "Any") -> dict[str, Any]:
    from msgspec import to_builtins

    plain = to_builtins(found)
    sender = plain.pop("sender", None)
    return {**({"gap": plain.pop("cause")} if "cause" in plain else {}), **plain, **(sender or {})}
