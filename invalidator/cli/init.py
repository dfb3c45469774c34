"""`invalidator init`: write rules and settings to begin with."""

import argparse
import shlex
from pathlib import Path
from typing import Final

from invalidator.cli.columns import table
from invalidator.cli.common import UsageError, Verbs, say

SAMPLE: Final = Path(__file__).parent / "sample"
FILES: Final = {
    "rules.yaml": "rules, with comments and tests",
    "invalidator.env": "settings of the daemon",
}

_EPILOG = """\
examples:
  invalidator init            into this directory
  invalidator init shop       into a new one

Nothing is overwritten.

exit codes: 0 written, 2 one of the files exists already or cannot be written
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "init",
        help="write rules and settings to begin with",
        description="Writes rules.yaml, with comments and tests, and invalidator.env.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", default=".", help="where; default: this directory"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    directory = Path(args.directory)
    if there := [name for name in FILES if (directory / name).exists()]:
        found = " and ".join(str(directory / name) for name in there)
        exist = "exists" if len(there) == 1 else "exist"
        raise UsageError(f"{found} {exist} already, so nothing was written")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with (directory / name).open("x") as file:
                file.write((SAMPLE / name).read_text())
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from None
    say("\n".join(table([(f"wrote {directory / name}", what) for name, what in FILES.items()])))
    say("\nnext:")
    move = [(f"cd {shlex.quote(str(directory))}", "")] if directory.resolve() != Path.cwd() else []
    steps = [
        *move,
        ("invalidator test", "run the tests in the rules"),
        ("invalidator run --embedded", "try them with a Redis of its own"),
        ("invalidator run --env-file invalidator.env", "run them on yours"),
    ]
    say("\n".join(table(steps, indent="  ")))
    return 0
