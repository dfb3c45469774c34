"""`invalidator run`: the daemon."""

import argparse

from invalidator.cli.verbs import Verbs

_EPILOG = """\
examples:
  invalidator run --embedded
      on a Redis of its own, which is gone when it ends; prints what to paste to see it work
  INVALIDATOR_REDIS_URL=redis://cache:6379/0 INVALIDATOR_PUBSUB__CHANNELS=events invalidator run
      events from the channel `events`, entries of the same Redis
  invalidator run --env-file prod.env --rules /etc/invalidator/rules.d
      everything from files

SIGTERM or SIGINT: stops reading, settles what was read, ends. A second one ends at once.
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "run",
        help="run the daemon",
        description="Reads events and deletes what the rules name, until it is told to stop.",
        epilog=_EPILOG,
    )
    parser.add_argument("--embedded", action="store_true", help="start a Redis of its own to try")
    parser.add_argument("--rules", metavar="PATH", help="rules file or directory")
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.daemon import run_daemon  # type: ignore[import-not-found]
    from invalidator.settings import load

    settings = load(args.env_file, rules=args.rules)
    return int(run_daemon(settings, embedded=args.embedded))
