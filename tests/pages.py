"""The documents as tests read them: their fenced blocks, code spans and links.

What a block's fence says after its language:

    sh             runs to its end; a `text` block right after it is what it prints
    sh daemon      starts a daemon, which stays until the next one or the page's end
    sh soon        may need a moment until it prints what is shown
    sh apart=FILE  that test runs it, since it needs more than a Redis, a Kafka and a folder
    sh norun       needs what no test has; it is parsed (tests/unit/test_docs.py says what may be)
    text log       lines that come in the daemon's log
    text sample    what somebody prints at some time; it is compared with nothing

In what is shown, `...` stands for any text, alone on a line for any lines. A block that begins
with `# NAME` and a suffix is that file.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from textwrap import dedent

TOP = Path(__file__).parents[1]
HOUSE = TOP / "invalidator"

_FENCE = re.compile(r"^( *)```(\w*) *(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
_HEAD = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FILE = re.compile(r"# ([\w-]+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    place: str  # the page, and the line of the fence
    language: str
    marks: frozenset[str]
    text: str
    section: str = ""  # the heading above it
    shown: str | None = None  # what the page says that it prints

    @property
    def file(self) -> str:
        """Return the name that a reader saves it under; empty where it is no file."""
        found = _FILE.match(self.text) if self.language in ("yaml", "python") else None
        return found[1] if found else ""

    @property
    def apart(self) -> str:
        """Return the test that runs it; empty where it is typed with the page."""
        return next((mark[6:] for mark in self.marks if mark.startswith("apart=")), "")

    @property
    def typed(self) -> bool:
        return self.language == "sh" and "norun" not in self.marks and not self.apart

    def commands(self) -> list[list[str]]:
        """Return the words of each line, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    def exports(self) -> dict[str, str]:
        """Return the settings that it sets, without INVALIDATOR_."""
        pairs = (
            word.partition("=")
            for verb, *words in self.commands()
            if verb == "export"
            for word in words
        )
        return {name.removeprefix("INVALIDATOR_"): value for name, _, value in pairs}


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
        """Return the text without its blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def spans(self) -> list[str]:
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    @cached_property
    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @cached_property
    def anchors(self) -> set[str]:
        """Return the anchors of its headings, as GitHub writes them."""
        heads: list[str] = _HEAD.findall(self.prose)
        return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}

    @cached_property
    def blocks(self) -> list[Block]:
        blocks: list[Block] = []
        for block, between in self._fences():
            follows = bool(blocks) and blocks[-1].language == "sh" and not between
            if follows and block.language == "text" and not block.marks:
                blocks[-1] = replace(blocks[-1], shown=block.text)
            else:
                blocks.append(block)
        return blocks

    def shells(self) -> list[Block]:
        return [block for block in self.blocks if block.language == "sh"]

    def _fences(self) -> Iterator[tuple[Block, str]]:
        """Yield each block with the text between it and the one before."""
        end = 0
        blank = _FENCE.sub(lambda found: re.sub(r"[^\n]", "-", found[0]), self.text)
        heads = [(found.start(), found[1]) for found in _HEAD.finditer(blank)]
        for found in _FENCE.finditer(self.text):
            line = self.text.count("\n", 0, found.start()) + 1
            marks = frozenset(found[3].split())
            above = [head for at, head in heads if at < found.start()]
            section = above[-1] if above else ""
            block = Block(f"{self.name}:{line}", found[2], marks, dedent(found[4]), section)
            yield block, self.text[end : found.start()].strip()
            end = found.end()


def pages() -> list[Page]:
    """Return all pages for people who use or change the daemon."""
    paths = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md"))]
    return [Page(path) for path in paths]


def apart(test: str, *words: str) -> list[Block]:
    """Return the blocks with these words that a test, given as its `__file__`, runs."""
    mine = Path(test).relative_to(TOP).as_posix()
    found = [b for page in pages() for b in page.shells() if b.apart == mine]
    return [block for block in found if all(word in block.text for word in words)]


def fits(shown: str, printed: str) -> bool:
    """Return whether it was printed as shown."""
    return re.fullmatch(_expression(shown.rstrip("\n")), printed.rstrip("\n")) is not None


def appears(shown: str, printed: str) -> bool:
    """Return whether each line that is shown is among those printed."""
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
