"""What is mostly the matter where YAML cannot be read, or holds something else than it should."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from invalidator.rules.file.yaml import Node

_QUOTE: Final = "; put quotes around a text that begins with {, [, *, &, !, %, @ or a quote"
_WITHIN: Final = "; put quotes around a text that has { or ': ' in it"
_COLUMN: Final = "; begin the fields of an object in the same column"
_SYNTAX: Final = {  # by libyaml's own words
    "alphabetic or numeric character": _QUOTE,
    "cannot start any token": f"; indent with spaces, not with tabs{_QUOTE}",
    "mapping values are not allowed": f"{_WITHIN}{_COLUMN}",
    "unexpected ':'": _WITHIN,
    "expected key": f"{_COLUMN}{_QUOTE}",
    "expected '-' indicator": f"; begin the elements of a list in the same column{_QUOTE}",
    "expected ','": f"; separate elements by commas{_QUOTE}",
    "end of stream": "; a quote or a bracket is never closed",
    "unknown escape": "; in single quotes a \\ is a \\",
}


def of_syntax(said: str) -> str:
    return next((hint for words, hint in _SYNTAX.items() if words in said), "")


def of_kind(what: str, node: "Node") -> str:
    """For a value of another kind than `what`."""
    if what == "text" and node.text:
        return f': write "{node.text}"'
    if what == "text" and isinstance(node.value, dict | list):
        return "; put quotes around a text that begins with { or [, or has ': ' in it"
    if what.startswith("an object") and ":" in node.text and not node.style:
        return "; a space belongs behind the :"
    return ""
