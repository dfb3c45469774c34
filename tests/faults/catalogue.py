"""All rows, in their order."""

from tests.faults.rows import ROWS as _DECLARED
from tests.faults.rows import deaths

__all__ = ["ROWS", "deaths"]

ROWS = dict(sorted(_DECLARED.items()))
