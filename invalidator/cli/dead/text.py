"""How dead letters are shown. What others wrote never reaches a terminal as it is."""

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from invalidator.cli.common import UsageError
from invalidator.runtime.text import visible

if TYPE_CHECKING:
    from invalidator.settings import Settings

__all__ = ["LONGEST", "as_json", "counted", "cut", "expect_stream", "table", "visible", "when"]

LONGEST = 4000  # characters of a line
_WIDE = 10_000  # where nobody reads along


def expect_stream(settings: "Settings") -> None:
    """Of a topic, Kafka's own tools are the better readers."""
    if topic := settings.dead_letters.topic:
        brokers = ",".join(settings.kafka.bootstrap_servers)
        raise UsageError(
            f"dead letters go to the topic {topic} (INVALIDATOR_DEAD_LETTERS__TOPIC), which "
            "Kafka's tools read, such as\n"
            f"  kcat -b {brokers} -C -e -t {topic} -f '%h\\n%s\\n'\n"
            "docs/dead-letters.md says how they are sent again. To work on a stream of before, "
            "leave that setting empty"
        )


def when(ms: int | None) -> str:
    if not ms:
        return "unknown"
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return str(ms)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side; the last one takes what the terminal leaves."""
    shown = [[visible(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    lines = []
    for row in shown:
        cells = [cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=False)]
        lines.append(cut("  ".join([*cells, row[-1]]).rstrip(), width))
    return lines


def as_json(found: object, *, indent: int | None = None) -> str:
    """ASCII without control characters, DEL among them, which JSON would let pass."""
    return json.dumps(found, indent=indent).replace("\x7f", "\\u007f")


def cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
