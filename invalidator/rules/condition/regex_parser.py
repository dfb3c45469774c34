"""The syntax of matches(): a subset of RE2's."""

from msgspec import Struct

MAX_PATTERN = 500  # characters
MAX_GROUPS = 20  # one inside the other
MAX_COUNT = 200  # in {m,n}

Ranges = tuple[tuple[str, str], ...]

_DIGIT: Ranges = (("0", "9"),)
_WORD: Ranges = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE: Ranges = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


class PatternError(ValueError):
    """This pattern cannot be used."""


class CharacterSet(Struct, frozen=True):
    ranges: Ranges
    negated: bool = False

    def accepts(self, character: str) -> bool:
        inside = any(low <= character <= high for low, high in self.ranges)
        return inside is not self.negated


class Anchor(Struct, frozen=True):
    end: bool  # of the text; else its beginning


class Sequence(Struct, frozen=True):
    parts: tuple["Part", ...]


class Alternatives(Struct, frozen=True):
    parts: tuple["Part", ...]


class Repeat(Struct, frozen=True):
    part: "Part"
    least: int
    most: int | None  # None: any number


Part = CharacterSet | Anchor | Sequence | Alternatives | Repeat


def parse_pattern(text: str) -> tuple[Part, bool]:
    """The pattern, and whether it ignores case."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"a pattern has at most {MAX_PATTERN} characters")
    return _Parser(text).pattern()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.dot = CharacterSet((("\n", "\n"),), negated=True)

    def pattern(self) -> tuple[Part, bool]:
        flags = self.flags()
        if "s" in flags:
            self.dot = CharacterSet((), negated=True)
        part = self.alternatives(0)
        if self.at < len(self.text):
            raise self.error("this ')' closes nothing")
        return part, "i" in flags

    def error(self, message: str) -> PatternError:
        return PatternError(f"{message} (character {self.at + 1} of the pattern)")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> bool:
        if not self.text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def flags(self) -> str:
        for flags in ("i", "s", "is", "si"):
            if self.take(f"(?{flags})"):
                return flags
        return ""

    def alternatives(self, depth: int) -> Part:
        if depth > MAX_GROUPS:
            raise self.error(f"groups are nested more than {MAX_GROUPS} deep")
        parts = [self.sequence(depth)]
        while self.take("|"):
            parts.append(self.sequence(depth))
        return parts[0] if len(parts) == 1 else Alternatives(tuple(parts))

    def sequence(self, depth: int) -> Part:
        parts = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated(self.atom(depth)))
        return Sequence(tuple(parts))

    def repeated(self, part: Part) -> Part:
        counts = self.counts()
        if counts is None:
            return part
        if isinstance(part, Anchor):
            raise self.error("'^' and '$' cannot be repeated")
        self.take("?")  # lazy or greedy makes no difference to whether it matches
        if self.peek() in ("*", "+", "?", "{"):
            raise self.error("this repeats a repetition: put the inner one into (?:...)")
        return Repeat(part, *counts)

    def counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(sign):
                return counts
        return self.braces() if self.take("{") else None

    def braces(self) -> tuple[int, int | None]:
        least = self.number()
        most: int | None = least
        if self.take(","):
            most = None if self.peek() == "}" else self.number()
        if not self.take("}"):
            raise self.error("expected '}' (a brace itself is written '\\{')")
        if most is not None and most < least:
            raise self.error(f"{{{least},{most}}} counts backwards")
        return least, most

    def number(self) -> int:
        start = self.at
        while self.peek().isascii() and self.peek().isdigit():
            self.at += 1
        digits = self.text[start : self.at]
        if not digits:
            raise self.error("expected a number (a brace itself is written '\\{')")
        if len(digits) > 4 or int(digits) > MAX_COUNT:
            raise self.error(f"a repetition counts to {MAX_COUNT} at most")
        return int(digits)

    def atom(self, depth: int) -> Part:
        character = self.peek()
        if character in ("*", "+", "?", "{"):
            raise self.error(f"nothing to repeat before '{character}'")
        self.at += 1
        match character:
            case "(":
                return self.group(depth)
            case "[":
                return self.character_class()
            case ".":
                return self.dot
            case "^" | "$":
                return Anchor(end=character == "$")
            case "\\":
                return self.escape()
        return CharacterSet(((character, character),))

    def group(self, depth: int) -> Part:
        if self.take("?") and not self.take(":"):
            self.name()
        part = self.alternatives(depth + 1)
        if not self.take(")"):
            raise self.error("expected ')'")
        return part

    def name(self) -> None:
        if self.peek() in ("=", "!") or self.text[self.at : self.at + 2] in ("<=", "<!"):
            raise self.error("looking ahead or behind is not offered")
        named = self.take("P<") or self.take("<")
        end = self.text.find(">", self.at)
        if not named or not self.text[self.at : max(end, self.at)].isidentifier():
            raise self.error("this kind of group is not offered; flags ('(?i)', '(?s)') come first")
        self.at = end + 1

    def escape(self) -> Part:
        if self.peek() == "A":
            self.at += 1
            return Anchor(end=False)
        if self.peek() == "z":
            self.at += 1
            return Anchor(end=True)
        return self.escaped()

    def escaped(self) -> CharacterSet:
        """What stands after a backslash, inside or outside of brackets."""
        letter = self.peek()
        self.at += 1
        if letter.lower() in _CLASSES:
            return CharacterSet(_CLASSES[letter.lower()], negated=letter.isupper())
        if letter in _CONTROLS:
            return _single(_CONTROLS[letter])
        if letter == "x":
            return _single(self.code())
        if letter and letter.isascii() and not letter.isalnum():
            return _single(letter)
        self.at -= 1
        if letter.isdigit():
            raise self.error("backreferences are not offered")
        shown = f"'\\{letter}' is not offered" if letter else "the pattern ends in a backslash"
        raise self.error(shown)

    def code(self) -> str:
        digits = self.text[self.at : self.at + 2]
        if self.take("{"):
            digits = self.text[self.at : max(self.text.find("}", self.at), self.at)]
            self.at += 1
        self.at += len(digits)
        try:
            code = int(digits, 16) if 2 <= len(digits) <= 6 and digits.isalnum() else -1
            return chr(code)
        except (ValueError, OverflowError):
            raise self.error("expected a character's number, as in \\x41 or \\x{1F600}") from None

    def character_class(self) -> CharacterSet:
        negated = self.take("^")
        ranges: list[tuple[str, str]] = []
        first = True
        while first or self.peek() != "]":
            first = False
            ranges += self.class_item()
        self.at += 1
        return CharacterSet(tuple(ranges), negated)

    def class_item(self) -> Ranges:
        low = self.class_character()
        if low.negated:
            raise self.error("a negated class such as \\D inside [...] is not offered")
        dash = self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]")
        if not dash:
            return low.ranges
        self.at += 1
        high = self.class_character()
        if not _is_single(low) or not _is_single(high) or high.ranges < low.ranges:
            raise self.error("this range goes from nowhere to nowhere (write '\\-' for a dash)")
        return ((low.ranges[0][0], high.ranges[0][0]),)

    def class_character(self) -> CharacterSet:
        character = self.peek()
        if character == "":
            raise self.error("expected ']'")
        if character == "[":
            raise self.error("write '\\[' inside [...]")
        self.at += 1
        return self.escaped() if character == "\\" else _single(character)


def _single(character: str) -> CharacterSet:
    return CharacterSet(((character, character),))


def _is_single(one: CharacterSet) -> bool:
    return len(one.ranges) == 1 and one.ranges[0][0] == one.ranges[0][1]
