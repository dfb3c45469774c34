"""What the verbs share."""

import argparse
import signal
from typing import TypeAlias

from invalidator.errors import InvalidatorError

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(InvalidatorError):
    """An argument that cannot be used, though argparse could not tell."""


NOT_CONFIRMED = 4  # exit code
INTERRUPTED = 130  # likewise


def confirmed(question: str) -> bool:
    """Ask a person, from the main thread. Whatever is no yes means no, and Ctrl-C ends it at once.

    asyncio would hear of it only after the answer.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
    finally:
        signal.signal(signal.SIGINT, before)
