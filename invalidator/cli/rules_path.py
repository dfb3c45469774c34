"""Where a verb on rules finds them."""

import argparse
from pathlib import Path


def add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "rules",
        metavar="RULES",
        nargs="?",
        help="file or directory; default: what INVALIDATOR_RULES says, else rules.yaml",
    )


def rules_path(given: str | None) -> Path:
    if given is not None:
        return Path(given)
    from invalidator.settings import load

    return load(None).rules
