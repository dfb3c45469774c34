"""The command line. A verb's heavy imports happen when it runs, so that help answers at once."""

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from invalidator import __version__
from invalidator.cli import (
    check,
    completion,
    control,
    dead,
    explain,
    publish,
    purge,
    replay,
    run,
    schema,
    settings,
    tail,
    test,
)
from invalidator.cli.audit import verb as audit
from invalidator.cli.common import INTERRUPTED, Verbs
from invalidator.cli.mistakes import tell

_VERBS: tuple[ModuleType, ...] = (
    run,
    control,
    publish,
    check,
    test,
    explain,
    dead,
    tail,
    purge,
    replay,
    audit,
    schema,
    settings,
    completion,
)

_DESCRIPTION = "Reads domain events and deletes the cache entries that your rules name for them."

_EPILOG = """\
examples:
  invalidator run --embedded             try it: starts a Redis of its own
  invalidator run --rules rules.yaml     the daemon, as INVALIDATOR_* settings say
  invalidator publish order.updated '{"orderId": "ord_1"}'
                                         send it an event
  invalidator check                      every mistake of your rules, with its place
  invalidator test                       the tests that stand in your rules
  invalidator explain '{"type": "order.updated", "data": {"orderId": "ord_1"}}'
                                         what your rules would make of it
  invalidator tail                       live, what is invalidated
  invalidator dead list                  events that could not be applied, and why
  invalidator purge --tag customer:7 --why "wrong prices"
                                         by hand; asks first
  invalidator replay --since 10m         events of the last ten minutes, once more
  invalidator audit                      what is wrong in the caches; reads only
  invalidator status                     how a daemon that runs is
  invalidator settings                   every setting, its value and where that came from

`invalidator VERB --help` has more on each.

exit codes:
  0    clean
  1    an unexpected failure, a server that cannot be reached, or (check, test, explain,
       audit --strict) something was found
  2    the command line, the settings or the rules cannot be used
  3    stopped before all work in hand was settled: it is read again, except from pub/sub
  4    not confirmed (purge, dead drop), so nothing was done
  130  interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    try:
        code = _dispatch(argv)
        print(end="", flush=True)  # here, where a closed pipe is still handled
    except BrokenPipeError:
        # The reader (head, less) has seen enough. What is still buffered must not be tried again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _dispatch(argv: Sequence[str] | None) -> int:
    line = parser()
    try:
        args = line.parse_args(argv)
    except SystemExit as stop:  # --help, --version, or argparse has said what is wrong
        return int(stop.code or 0)
    if args.run is None:
        line.print_help()
        return 2
    return _guarded(args)


def _guarded(args: argparse.Namespace) -> int:
    """Run the verb; what it raises is told to a person, not to a programmer."""
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last place that can say it well
        return tell(error, debug=args.debug)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="invalidator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=None)
    made.add_argument("--version", action="version", version=f"invalidator {__version__}")
    made.add_argument("--debug", action="store_true", help="show tracebacks of failures")
    verbs: Verbs = made.add_subparsers(title="verbs", metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    for verb_parser in verbs.choices.values():
        _complete(verb_parser)
    return made


def _complete(parser: argparse.ArgumentParser) -> None:
    """What all verbs share. `--debug` works before and after the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
