"""All rows, in their order."""

from tests.faults.rows import ROWS as _DECLARED
from tests.faults.rows import brokers, deaths, edges, others, servers, topologies

__all__ = ["ROWS", "brokers", "deaths", "edges", "others", "servers", "topologies"]

ROWS = dict(sorted(_DECLARED.items()))
