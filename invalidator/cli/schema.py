"""`invalidator schema`: print the JSON Schema of the rules language."""

import argparse

from invalidator.cli.common import Verbs

_EPILOG = """\
examples:
  invalidator schema > rules.schema.json
      then begin a rules file with this line, for editors:
      # yaml-language-server: $schema=rules.schema.json
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "schema",
        help="print the JSON Schema of rules files",
        description="Prints the JSON Schema of rules files, which editors use to complete them.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules.file.schema import published_schema

    print(published_schema(), end="")
    return 0
