"""What the verbs share."""

import argparse
from typing import TypeAlias

from invalidator.errors import InvalidatorError

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(InvalidatorError):
    """An argument that cannot be used, though argparse could not tell."""
