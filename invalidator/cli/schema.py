"""`invalidator schema`: the rules language as a JSON Schema."""

import argparse

from invalidator.cli.common import Verbs

_EPILOG = """\
examples:
  invalidator schema > rules.schema.json
      and as the first line of a rules file, for editors:
      # yaml-language-server: $schema=rules.schema.json
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "schema",
        help="print the JSON Schema of rules files",
        description="Prints the JSON Schema of rules files, by which editors complete them.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from invalidator.rules.file.schema import published_schema

    print(published_schema(), end="")
    return 0
