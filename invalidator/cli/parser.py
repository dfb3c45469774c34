"""The parser of the command line: help that fits the terminal, mistakes with the nearest name."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from invalidator.runtime.terminal import printable

WIDEST: Final = 100  # columns of help
_COMMENTED = re.compile(r"( *\S.*?) {2,}(\S.*)")  # a command or exit code, and what it means
_SHORT: Final = 8  # columns up to which what it means stays on the line


class Parser(argparse.ArgumentParser):
    """Options are written out; an unknown verb, option or choice names the nearest one."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": Help, **more})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            from invalidator.runtime.text import closest  # which loads for 10 ms

            verb = _verb(self, found)
            near = closest(unknown[0].partition("=")[0], verb._option_string_actions)
            hint = f"; did you mean {near}?" if near and unknown[0].startswith("-") else ""
            verb.error(f"unknown argument: {printable(' '.join(unknown))}{hint}")
        return found

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n`{self.prog} --help` shows what it takes\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        from invalidator.runtime.text import nearest

        what = action.option_strings[0] if action.option_strings else str(action.metavar).lower()
        raise argparse.ArgumentError(
            None, f"unknown {what}: {printable(str(value))}{nearest(str(value), action.choices)}"
        )


def _verb(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.ArgumentParser:
    """Return the parser of the verb that was called, also of `dead list`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = action.choices.get(getattr(args, action.dest, None) or "")
            return _verb(chosen, args) if chosen else parser
    return parser


class Help(argparse.RawDescriptionHelpFormatter):
    """Fills prose; of an example, what it does moves to a line of its own if it does not fit."""

    def __init__(self, prog: str) -> None:
        columns = max(80, min(WIDEST, shutil.get_terminal_size().columns))
        super().__init__(prog, width=columns)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(_filled(text.splitlines(), width))


def _filled(lines: Sequence[str], width: int) -> Iterator[str]:
    prose: list[str] = []
    for line in [*lines, ""]:
        if line and not line.startswith(" "):
            prose.append(line)
            continue
        yield from textwrap.wrap(" ".join(prose), width, break_on_hyphens=False)
        prose.clear()
        yield from [line] if len(line) <= width else _broken(line, width)


def _broken(line: str, width: int) -> Iterator[str]:
    found = _COMMENTED.fullmatch(line)
    if not found:
        inside = " " * (len(line) - len(line.lstrip()))
        yield from textwrap.wrap(
            line.strip(), width, initial_indent=inside, subsequent_indent=inside
        )
        return
    head, said = found[1], found[2]
    if len(head) <= _SHORT:
        head = line[: found.start(2)]
        yield from textwrap.wrap(
            said, width, initial_indent=head, subsequent_indent=" " * len(head)
        )
        return
    yield head
    yield from textwrap.wrap(said, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
