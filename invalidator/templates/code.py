"""Python source in the making: the code that renders values.

It holds no text of an author except as escaped literals: `literal` leaves letters, digits and a
few harmless signs, everything else is an escape. Objects are passed in as globals.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from invalidator.templates.language import Filter
from invalidator.templates.values import HELPERS

_SAFE: Final = frozenset(" :_-./,;=#")
_MISSING: Final = "except (KeyError, TypeError, IndexError):"


class Code:
    """Lines, and the globals that they use."""

    def __init__(self, helpers: Mapping[str, Any] = HELPERS) -> None:
        self.lines: list[str] = []
        self.globals: dict[str, Any] = dict(helpers)
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
    """Escape text for a generated literal in single quotes; braces of f-strings do not survive."""
    return "".join(
        char if char.isascii() and (char.isalnum() or char in _SAFE) else f"\\U{ord(char):08x}"
        for char in text
    )


def looked_up(
    variable: str, start: str, steps: Sequence[str | int | None], owner: str
) -> list[str]:
    """Return the code that walks from an object to a value; `owner` names a `Field`."""
    expression = start
    for step in steps:
        if isinstance(step, str):
            expression = f"{expression}['{literal(step)}']"
        else:
            expression = f"nth({expression}, {step})"
    if not steps:
        return [f"{variable} = {expression}"]
    return [
        f"try: {variable} = {expression}",
        f"{_MISSING} {variable} = {owner}.absent({start})",
    ]


def as_text(value: str, filters: tuple[Filter, ...], owner: str, *, droppable: bool) -> list[str]:
    """Return the code that turns a variable's value into text: the fast way, or `Field`'s."""
    if filters and filters[0].name == "json":
        write = "as_sorted_json" if filters[0].argument else "as_json"
        written = [f"{value} = {owner}.present({value}, {write})"]
        return written + filtered(value, filters[1:], owner, droppable=droppable)
    checked = [
        f"if type({value}) is str:",
        f"    if not ({value} and {value}.isprintable()): {value} = {owner}.text({value})",
        f"elif type({value}) is not int: {value} = {owner}.text({value})",
    ]
    return checked + filtered(value, filters, owner, droppable=droppable)


def filtered(value: str, filters: tuple[Filter, ...], owner: str, *, droppable: bool) -> list[str]:
    """Return the code that applies filters; `droppable`: the value may be None and stays so."""
    if not filters:
        return []
    text = f"str({value})"
    for entry in filters:
        written = _FILTERS.get(entry.name)
        text = written(text, entry.argument) if written else f"filter_{entry.name}({text})"
    text = f"{owner}.filled({text})"
    if droppable:
        text = f"None if {value} is None else {text}"
    return [f"{value} = {text}"]


_FILTERS: Final[dict[str, Callable[[str, Any], str]]] = {  # those with an argument
    "first": lambda text, count: f"{text}[:{int(count)}]",
    "json": lambda text, how: f"as_sorted_json({text})" if how else f"as_json({text})",
}
