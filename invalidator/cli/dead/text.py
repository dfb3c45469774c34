"""Dead letters as text: times, tables."""

import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from invalidator.cli.common import UsageError
from invalidator.runtime.text import visible

if TYPE_CHECKING:
    from invalidator.settings import Settings

LONGEST = 4000  # characters of a line
_WIDE = 10_000  # columns where the output is a file or a pipe


def expect_stream(settings: "Settings") -> None:
    """Raise UsageError if dead letters go to a Kafka topic."""
    if topic := settings.dead_letters.topic:
        brokers = ",".join(settings.kafka.bootstrap_servers)
        raise UsageError(
            f"dead letters go to the topic {topic} (INVALIDATOR_DEAD_LETTERS__TOPIC), which "
            "Kafka's tools can read, for example\n"
            f"  kcat -b {brokers} -C -e -t {topic} -f '%h\\n%s\\n'\n"
            "docs/dead-letters.md explains how to send them again. To work on entries in the "
            "stream, leave that setting empty"
        )


def when(ms: int | None) -> str:
    if not ms:
        return "unknown"
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return str(ms)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows in columns; the last column is cut at the terminal's width."""
    shown = [[visible(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    lines = []
    for row in shown:
        cells = [cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=False)]
        lines.append(cut("  ".join([*cells, row[-1]]).rstrip(), width))
    return lines


def cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
