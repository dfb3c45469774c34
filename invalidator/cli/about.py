"""`invalidator help|version`."""

import argparse

from invalidator import __version__
from invalidator.cli.common import UsageError, Verbs


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "help", help="explain a verb", description="Explains a verb; without one, lists them all."
    )
    parser.add_argument("words", metavar="VERB", nargs="*", help="such as publish, or dead list")
    parser.set_defaults(run=_help)
    parser = verbs.add_parser(
        "version", help="print the version", description="Prints the version."
    )
    parser.set_defaults(run=_version)


def _help(args: argparse.Namespace) -> int:
    from invalidator.cli import parser
    from invalidator.runtime.text import nearest

    shown: argparse.ArgumentParser = parser()
    for word in args.words:
        verbs = _verbs(shown)
        if word not in verbs:
            raise UsageError(f"no verb is called {word}{nearest(word, verbs)}")
        shown = verbs[word]
    shown.print_help()
    return 0


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _version(_: argparse.Namespace) -> int:
    print(f"invalidator {__version__}")
    return 0
