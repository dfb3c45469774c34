"""What the verbs share."""

import argparse
from typing import TypeAlias

from invalidator.errors import InvalidatorError

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(InvalidatorError):
    """An argument that cannot be used, though argparse could not tell."""


NOT_CONFIRMED = 4  # exit code
INTERRUPTED = 130  # likewise


def confirmed(question: str) -> bool:
    """Ask a person. Whatever is no yes means no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
