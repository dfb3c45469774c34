"""Regular expressions for matches(): RE2, whose time grows only linearly with the text.

The text comes from events, and Python's `re` backtracks: hostile data keep it busy for seconds with
a pattern as plain as `a*b`, and forever with `(a|a)*b`.
"""

from typing import Final

import re2

from invalidator.errors import ConditionError

MAX_SUBJECT: Final = 10_000  # characters of the text that is searched
MAX_MEMORY: Final = 2 << 20  # bytes of one program, and of the states that RE2 remembers for it

_EXPLAINED: Final = {  # by the words of RE2
    "invalid perl operator: (?=": "looking ahead or behind is not offered",
    "invalid perl operator: (?!": "looking ahead or behind is not offered",
    "invalid perl operator: (?<": "looking ahead or behind is not offered",
    "invalid perl operator": "this kind of group is not offered",
    "invalid escape sequence: \\x": "expected a character's number, as in \\x41 or \\x{1F600}",
    "bad repetition operator": "this repeats a repetition: put the inner one into (?:...)",
    "no argument for repetition operator": "nothing to repeat before this",
    "invalid repetition size": "a repetition counts up, to 1000 at most in all",
    "missing )": "expected ')'",
    "unexpected )": "a ')' closes nothing",
    "missing ]": "expected ']'",
    "invalid character class range": "there is no such range or class (write '\\-' for a dash)",
    "trailing \\": "the pattern ends in a backslash",
    "pattern too large": "the pattern is too large: its counted repetitions are written out",
}


class PatternError(ValueError):
    """This pattern cannot be used."""


class Pattern:
    """A checked pattern. Equal to another with the same text."""

    __slots__ = ("_match", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            compiled = re2.compile(_utf8(text), _options())
        except re2.error as error:
            raise PatternError(_explained(text, error.args[0].decode(errors="replace"))) from None
        # Not search(), which takes four times as long to make an object of the match.
        self._match = compiled._regexp.Match

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def search(self, text: object) -> bool:
        """Return whether the pattern occurs anywhere in the text."""
        if type(text) is not str:
            raise ConditionError("matches() needs a string")
        if len(text) > MAX_SUBJECT:
            raise ConditionError(f"matches() searches at most {MAX_SUBJECT} characters")
        raw = _utf8(text)
        return bool(self._match(_ANYWHERE, raw, 0, len(raw))[0] != _NOWHERE)


_ANYWHERE: Final = re2._Anchor.UNANCHORED
_NOWHERE: Final = (-1, -1)


def _utf8(text: str) -> bytes:
    """Encode a text, half surrogates of JSON included."""
    return text.encode("utf-8", "surrogatepass")


def _options() -> re2.Options:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    return options


def _explained(pattern: str, said: str) -> str:
    """Return RE2's message in helpful words, with the place in the pattern if it is certain."""
    _, _, part = said.partition(": ")
    message = next((text for words, text in _EXPLAINED.items() if said.startswith(words)), "")
    if said.startswith("invalid escape sequence") and not message:
        message = "backreferences are not offered" if part[1:].isdigit() else f"'{part}' is unknown"
    at = _place(pattern, said, part)
    return f"{message or said}{f' (character {at} of the pattern)' if at else ''}"


def _place(pattern: str, said: str, part: str) -> int:
    """Return where the mistake is, from 1; 0 where RE2 only names a part that occurs twice."""
    if said.startswith("missing )"):
        return len(pattern) + 1
    return pattern.index(part) + 1 if pattern != part and pattern.count(part) == 1 else 0
