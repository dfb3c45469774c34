"""Split the text of a condition into tokens."""

import re
from typing import Literal as OneOf

from msgspec import Struct

from invalidator.errors import ConditionSyntaxError

MAX_LENGTH = 4096  # characters of one condition

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<string>(?P<prefix>[rRbB]{0,2})(?P<quote>\"\"\"|'''|"|'))
  | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<int>0[xX][0-9a-fA-F]+|[0-9]+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<symbol>&&|\|\||==|!=|<=|>=|[<>!?:.,()\[\]+\-*/%])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\?\"'`])|x(?P<hex>[0-9a-fA-F]{2})|u(?P<u4>[0-9a-fA-F]{4})"
    r"|U(?P<u8>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2}))"
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INSTEAD = {
    "=": "write '==' to compare",
    "&": "write '&&'",
    "|": "write '||'",
    "{": "objects cannot be written in a condition",
    ";": "a condition is one expression",
    "`": 'write data["a-name"] for a field whose name is not a plain word',
}


class Token(Struct, frozen=True):
    kind: OneOf["name", "int", "float", "string", "symbol", "end"]
    text: str  # as written
    column: int  # from 1
    value: str | int | float | None = None  # of a literal

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f"'{self.text}'"


def tokens(text: str) -> list[Token]:
    if len(text) > MAX_LENGTH:
        message = f"a condition has at most {MAX_LENGTH} characters, this one has {len(text)}"
        raise ConditionSyntaxError(message, MAX_LENGTH + 1)
    found = []
    at = 0
    while at < len(text):
        token, at = _next(text, at)
        if token is not None:
            found.append(token)
    found.append(Token("end", "", len(text.rstrip()) + 1))
    return found


def _next(text: str, at: int) -> tuple[Token | None, int]:
    match = _TOKEN.match(text, at)
    if match is None:
        hint = _INSTEAD.get(text[at])
        message = f"unexpected {text[at]!r}" + (f": {hint}" if hint else "")
        raise ConditionSyntaxError(message, at + 1)
    if match["space"] is not None:
        return None, match.end()
    if match["string"] is not None:
        return _string(text, match)
    if match["float"] is not None or match["int"] is not None:
        return _number(text, match), match.end()
    kind: OneOf["name", "symbol"] = "symbol" if match["name"] is None else "name"
    return Token(kind, match[0], at + 1), match.end()


def _number(text: str, match: re.Match[str]) -> Token:
    column = match.start() + 1
    after = text[match.end() : match.end() + 1]
    if after in ("u", "U"):
        raise ConditionSyntaxError("there are no unsigned numbers: leave out the 'u'", column)
    if after.isalnum() or after == "_":
        message = f"a name cannot begin with a digit: '{match[0]}{after}'"
        raise ConditionSyntaxError(message, column)
    if match["int"] is not None:
        digits = match[0]
        base = 16 if digits[:2] in ("0x", "0X") else 10
        return Token("int", digits, column, int(digits, base) if len(digits) < 40 else 2**64)
    value = float(match[0])
    if value == float("inf"):
        raise ConditionSyntaxError("this number is too large", column)
    return Token("float", match[0], column, value)


def _string(text: str, match: re.Match[str]) -> tuple[Token, int]:
    start, quote, prefix = match.start(), match["quote"], match["prefix"].lower()
    if prefix not in ("", "r"):
        raise ConditionSyntaxError("there are no bytes: leave out the 'b'", start + 1)
    end = _closing(text, match.end(), quote, raw=prefix == "r")
    if end < 0:
        raise ConditionSyntaxError(f"this string has no closing {quote}", start + 1)
    body = text[match.end() : end]
    if len(quote) == 1 and ("\n" in body or "\r" in body):
        message = f"a string in {quote} ends on its line: write \\n, or use {quote * 3}"
        raise ConditionSyntaxError(message, start + 1)
    value = body if prefix == "r" else _unescape(body, match.end())
    stop = end + len(quote)
    return Token("string", text[start:stop], start + 1, value), stop


def _closing(text: str, at: int, quote: str, *, raw: bool) -> int:
    while at < len(text):
        if text.startswith(quote, at):
            return at
        at += 2 if text[at] == "\\" and not raw else 1
    return -1


def _unescape(body: str, offset: int) -> str:
    parts = []
    at = 0
    while (slash := body.find("\\", at)) >= 0:
        match = _ESCAPE.match(body, slash)
        if match is None:
            message = f"unknown escape '{body[slash : slash + 2]}': write '\\\\' or r\"...\""
            raise ConditionSyntaxError(message, offset + slash + 1)
        parts += [body[at:slash], _character(match, offset + slash + 1)]
        at = match.end()
    return "".join([*parts, body[at:]])


def _character(match: re.Match[str], column: int) -> str:
    if match["simple"]:
        return _SIMPLE.get(match["simple"], match["simple"])
    if match["octal"]:
        return chr(int(match["octal"], 8))
    code = int(match["hex"] or match["u4"] or match["u8"], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ConditionSyntaxError(f"'{match[0]}' is no character", column)
    return chr(code)
