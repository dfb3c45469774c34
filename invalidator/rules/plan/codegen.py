"""Generates Python source.

Authors' text only enters it as escaped literals: `literal` keeps letters, digits and a few harmless
signs, and escapes everything else. Objects are passed in as globals.
"""

from collections.abc import Callable
from typing import Any, Final

from invalidator.rules.plan import fields

# The arguments of every generated function: the event's data, the event around it, its type, and
# its record's slice and index, for what is seldom read (headers, the record's key).
ARGUMENTS: Final = "data, event, kind, part, index"

_SAFE: Final = frozenset(" :_-./,;=#")


class Code:
    """Lines of source, and the globals that they use."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.globals: dict[str, Any] = dict(fields.HELPERS)
        self._used = 0

    def new(self, letter: str) -> str:
        self._used += 1
        return f"{letter}{self._used}"

    def constant(self, value: object) -> str:
        name = self.new("K")
        self.globals[name] = value
        return name

    def add(self, depth: int, *lines: str) -> None:
        self.lines.extend("    " * depth + line for line in lines)

    def function(self, name: str, title: str) -> Callable[..., Any]:
        code = compile("\n".join(self.lines) + "\n", f"<rules: {title}>", "exec")
        exec(code, self.globals)  # noqa: S102 - compiled once, see the module's docstring
        made: Callable[..., Any] = self.globals[name]
        return made


def literal(text: str) -> str:
    """Escape text for a generated literal in single quotes, braces of f-strings included."""
    return "".join(
        char if char.isascii() and (char.isalnum() or char in _SAFE) else f"\\U{ord(char):08x}"
        for char in text
    )
