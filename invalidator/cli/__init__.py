"""The command line. Verbs import what is heavy only when they run, so that help is fast."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from invalidator import __version__
from invalidator.cli.common import INTERRUPTED, report_error
from invalidator.cli.parser import Parser

_VERBS = (  # modules, in the order of the help
    "init",
    "run",
    "control",
    "publish",
    "check",
    "test",
    "explain",
    "dead",
    "tail",
    "purge",
    "replay",
    "audit.verb",
    "freshness",
    "schema",
    "settings",
    "completion",
    "about",
)

_DESCRIPTION = "Reads domain events and deletes the cache entries that your rules name for them."

_EPILOG = """\
examples:
  invalidator run --embedded      try it with a Redis of its own
  invalidator init                write rules and settings to begin with
  invalidator run                 run the daemon, configured by INVALIDATOR_*
  invalidator publish order.updated '{"orderId": "ord_1"}' --wait
                                  send an event, and wait for its effect
  invalidator check               report every mistake in your rules
  invalidator test                run the tests in your rules
  invalidator explain '{"type": "order.updated", "data": {"orderId": "ord_1"}}'
                                  show what your rules make of an event
  invalidator tail                show live what is invalidated
  invalidator dead list           list events that could not be applied, and why
  invalidator purge --tag customer:7 --why "wrong prices"
                                  invalidate by hand; asks first
  invalidator replay --since 10m  apply the last ten minutes again
  invalidator replay --since 1d --dry-run --rules new.yaml
                                  show what other rules would have done
  invalidator audit               find problems in the caches; reads only
  invalidator freshness           show how fresh the caches are, and why not
  invalidator status --watch      show the status of a running daemon
  invalidator settings            show every setting, its value and its origin

`invalidator help VERB` explains a verb.

exit codes:
  0    success
  1    an unexpected failure, an unreachable server, no effect (publish --wait), or something was found (check, test, explain, audit --strict)
  2    the command line, the settings or the rules cannot be used
  3    stopped before everything that was read was settled: it is read again, except from pub/sub
  4    not confirmed (purge, dead drop), so nothing was done
  130  interrupted
"""  # noqa: E501 - help is wrapped when it is shown


def main(argv: Sequence[str] | None = None) -> int:
    # structlog imports rich wherever it is installed, though we use neither it nor its tracebacks:
    # 41 ms at each start.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    try:
        code = _dispatch(argv)
        print(end="", flush=True)  # here, where a closed pipe is still handled
    except BrokenPipeError:
        # The reader (head, less) stopped reading. What is still buffered must not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _dispatch(argv: Sequence[str] | None) -> int:
    line = parser()
    try:
        args = line.parse_args(argv)
    except SystemExit as stop:  # --help, --version, or argparse has reported a mistake
        return int(stop.code or 0)
    if args.run is None:
        line.print_help()
        return 2
    return _guarded(args)


def _guarded(args: argparse.Namespace) -> int:
    """Run the verb and report its errors for a person."""
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place that can report it well
        return report_error(error, debug=args.debug)


def parser() -> argparse.ArgumentParser:
    made = Parser(prog="invalidator", description=_DESCRIPTION, epilog=_EPILOG)
    made.set_defaults(run=None)
    made.add_argument("--version", action="version", version=f"invalidator {__version__}")
    made.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    verbs: Any = made.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    for verb in _VERBS:
        import_module(f"invalidator.cli.{verb}").add(verbs)
    for verb_parser in verbs.choices.values():  # `--debug` works before and after the verb
        verb_parser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )
    return made
