"""`invalidator dead`: list, show, replay and drop dead letters."""

import argparse
from collections.abc import Callable

from invalidator.cli.common import Verbs, add_json, add_rules, add_settings, settings_of, whole
from invalidator.cli.dead.args import add_choice

_EPILOG = """\
examples:
  invalidator dead stats                          how many, since when, and why
  invalidator dead list --rule order-changed --since 1h
  invalidator dead show 1795000000250-0           one of them, and what the rules make of it now
  invalidator dead replay 1795000000250-0         apply it by the current rules
  invalidator dead replay --all --rate 500        all of them, at most 500 events per second
  invalidator dead drop --error not-json --yes    delete what is not needed

It works on the stream in INVALIDATOR_STATE_URL, whether a daemon runs or not. Give it the rules and
the settings of the daemon (--rules, --env-file).

exit codes:
  0    done
  1    the Redis cannot be reached, there is no such entry, or some were rejected again
  2    the command line, the settings or the rules cannot be used
  4    not confirmed, so nothing was dropped
  130  interrupted; what was replayed or dropped before is removed from the stream
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "dead",
        help="list, show, replay and drop dead letters",
        description="Dead letters are events that could not be applied, each with every reason.",
        epilog=_EPILOG,
    )
    what: Verbs = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    _add_list(what)
    _add_show(what)
    _add_replay(what)
    _add_drop(what)
    _add_stats(what)
    for each in what.choices.values():
        add_settings(each)
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )


def _add_list(what: Verbs) -> None:
    parser = what.add_parser("list", help="list them, newest first")
    add_choice(parser, ids=False)
    parser.add_argument(
        "--limit", metavar="N", type=whole(1), default=20, help="how many at most (default 20)"
    )
    add_json(parser, "print whole entries, one JSON object per line")
    parser.set_defaults(run=_in("stored", "list_entries"))


def _add_show(what: Verbs) -> None:
    parser = what.add_parser("show", help="show one of them in full")
    parser.add_argument(
        "id", metavar="ID", nargs="?", default="", help="as `list` shows it; default: the newest"
    )
    add_json(parser)
    add_rules(parser)
    parser.set_defaults(run=_in("show", "show"))


def _add_replay(what: Verbs) -> None:
    parser = what.add_parser(
        "replay",
        help="apply them by the current rules",
        description="Plans their events by the current rules and applies them. An entry is removed "
        "once everything its event names was applied. One that is rejected again is stored again.",
    )
    add_choice(parser, ids=True)
    add_json(parser)
    parser.add_argument(
        "--rate", metavar="N", type=whole(1), default=1000, help="events per second (default 1000)"
    )
    parser.add_argument(
        "--masked",
        action="store_true",
        help="include events with masked values (INVALIDATOR_DEAD_LETTERS__REDACT), though rules "
        "that use a masked value name other keys than with the original",
    )
    add_rules(parser)
    parser.set_defaults(run=_in("replay", "replay"))


def _add_drop(what: Verbs) -> None:
    parser = what.add_parser("drop", help="delete them without applying; asks first")
    add_choice(parser, ids=True)
    add_json(parser, "print JSON; needs --yes")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=_in("stored", "drop"))


def _add_stats(what: Verbs) -> None:
    parser = what.add_parser("stats", help="count them by reason, rule, type and source")
    add_json(parser)
    parser.set_defaults(run=_in("stored", "stats"))


def _in(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """Return a function that imports the module when it runs, and calls a function of it."""

    def run(args: argparse.Namespace) -> int:
        import asyncio
        from importlib import import_module

        settings = settings_of(args)
        job = getattr(import_module(f"invalidator.cli.dead.{module}"), name)
        return int(asyncio.run(job(args, settings)))

    return run
