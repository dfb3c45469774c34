"""The documents as tests read them: their fenced blocks, code spans and links.

What a block's fence says after its language:

    sh          runs to its end; a `text` block right after it is what it prints
    sh daemon   starts a daemon, which stays until the next one or the page's end
    sh soon     may need a moment until it prints what is shown
    sh norun    cannot run in a test; it is parsed
    text log    lines that come in the daemon's log

In what is shown, `...` stands for any text, alone on a line for any lines. A block that begins
with `# NAME` and a suffix is that file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

TOP = Path(__file__).parents[1]
HOUSE = TOP / "invalidator"

_FENCE = re.compile(r"^```(\w*) *(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_FILE = re.compile(r"# ([\w-]+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    place: str  # the page, and the line of the fence
    language: str
    marks: frozenset[str]
    text: str
    shown: str | None = None  # what the page says that it prints

    @property
    def file(self) -> str:
        """What a reader saves it as; empty where it is no file."""
        found = _FILE.match(self.text) if self.language in ("yaml", "python") else None
        return found[1] if found else ""

    @property
    def makes(self) -> bool:
        """Whether all that it does is call make."""
        return all(line.startswith("make ") for line in self.text.splitlines())


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(TOP).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """Without its blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    @cached_property
    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @cached_property
    def anchors(self) -> set[str]:
        """Of its headings, as GitHub writes them."""
        heads: list[str] = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}

    @cached_property
    def blocks(self) -> list[Block]:
        blocks: list[Block] = []
        for block in self._fences():
            last = blocks[-1] if blocks else None
            if last and block.language == "text" and not block.marks and last.language == "sh":
                blocks[-1] = replace(last, shown=block.text)
            else:
                blocks.append(block)
        return blocks

    def shells(self) -> list[Block]:
        return [block for block in self.blocks if block.language == "sh"]

    def _fences(self) -> Iterator[Block]:
        for found in _FENCE.finditer(self.text):
            line = self.text.count("\n", 0, found.start()) + 1
            marks = frozenset(found[2].split())
            yield Block(f"{self.name}:{line}", found[1], marks, found[3])


def pages() -> list[Page]:
    """All that are written for people who use or change the daemon."""
    paths = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").rglob("*.md"))]
    return [Page(path) for path in paths]


def fits(shown: str, printed: str) -> bool:
    """Whether it was printed as shown."""
    return re.fullmatch(_expression(shown.rstrip("\n")), printed.rstrip("\n")) is not None


def appears(shown: str, printed: str) -> bool:
    """Whether each line that is shown is among those printed."""
    lines = printed.splitlines()
    return all(any(fits(wanted, line) for line in lines) for wanted in shown.splitlines())


def _expression(shown: str) -> str:
    lines = []
    for line in shown.splitlines():
        if line == "...":
            lines.append(r"(?:.*(?:\n|$))*?")
        else:
            lines.append(".*".join(map(re.escape, line.split("..."))) + r"(?:\n|$)")
    return "".join(lines)
