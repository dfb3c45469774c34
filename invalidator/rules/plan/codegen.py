"""Python source in the making.

It holds no text of an author but as escaped literals: `literal` leaves letters, digits and a few
harmless signs, everything else is an escape. Objects are passed in as globals.
"""

from collections.abc import Callable
from typing import Any, Final

from invalidator.rules.plan import fields as values

# What every generated function takes: the event's data, what stands around it, its type, and
# where its record is, for what is seldom asked (headers, the record's key).
ARGUMENTS: Final = "data, event, kind, part, index"

_SAFE: Final = frozenset(" :_-./,;=#")


class Code:
    """Lines, and the globals that they use."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.globals: dict[str, Any] = dict(values.HELPERS)
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
        exec(code, self.globals)  # noqa: S102 - the design: compiled once, see the module's head
        made: Callable[..., Any] = self.globals[name]
        return made


def literal(text: str) -> str:
    """Text inside a generated literal in single quotes; braces of f-strings do not survive."""
    return "".join(
        char if char.isascii() and (char.isalnum() or char in _SAFE) else f"\\U{ord(char):08x}"
        for char in text
    )
