"""A row that was rejected, as a dead letter of the daemon's: docs/redis-contract.md has the fields.

It carries no event, so that a replay by rules leaves it alone.
"""

import time
from typing import TYPE_CHECKING

import orjson

from invalidator import __version__
from invalidator.cache.scripts import Command

if TYPE_CHECKING:
    from invalidator.cache.behind.plan import Flush

SOURCE = "write-behind"


def letter(stream: str, row: "Flush", error: Exception) -> Command:
    """Return the command that stores a row."""
    ((key, value),) = row.rows.items()
    now = str(int(time.time() * 1000))
    message = f"{type(error).__name__}: {error}"
    fault = {"error": "flush-rejected", "message": message, "rule": None, "what": row.name}
    said: dict[str, str | bytes] = {
        "source": SOURCE,
        "origin": row.name,
        "position": row.token,
        "id": row.token,
        "type": SOURCE,
        "rule": "",
        "what": row.name,
        "error": "flush-rejected",
        "message": message,
        "faults": orjson.dumps([fault]),
        "key": key,
        "headers": orjson.dumps([["value", orjson.dumps(value).decode()]]),
        "published_at": "",
        "attempts": "1",  # those of tools that replay, which leave it alone
        "first_seen": now,
        "failed_at": now,
        "rules": "",
        "version": __version__,
    }
    return ("XADD", stream, "*", *(part for pair in said.items() for part in pair))
