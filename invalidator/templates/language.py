"""Templates: the text of a name, with slots for the values of an event."""

import re
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from invalidator.runtime.text import nearest
from invalidator.templates.filters import ONE_SEGMENT, TEXT_FILTERS

ROOTS: Final = ("data", "event", "root", "headers", "before", "after", "match")
EVENT: Final = ("type", "id", "source", "time", "key", "subject", "extensions")

Step = str | int | None  # a field, an index, or None: each element of a list


class Path(Struct, frozen=True):
    """The place of a value in an event, or among the arguments of a function."""

    root: str  # one of ROOTS
    steps: tuple[Step, ...]
    text: str  # as written

    def lists(self) -> tuple["Path", ...]:
        """Return the lists that this path goes through, the outermost first."""
        return tuple(
            Path(self.root, self.steps[:at], "")
            for at, step in enumerate(self.steps)
            if step is None
        )


class Filter(Struct, frozen=True):
    name: str
    argument: int | str | None = None


class Slot(Struct, frozen=True):
    """One `{…}`: a path or a quoted text, and what is done to its value."""

    source: "Path | Template"
    filters: tuple[Filter, ...]
    optional: bool  # {path?}: where it is missing, the template gives no name
    default: str | None  # {path:-text}
    text: str  # as written

    @property
    def is_one_segment(self) -> bool:
        """Return whether its filters leave no colon in the value."""
        return any(entry.name in ONE_SEGMENT for entry in self.filters)

    def in_segment(self) -> "Slot":
        """Return the slot with its values escaped as by the filter `segment`."""
        if isinstance(self.source, Template):
            return replace(self, source=self.source.in_segments())
        if self.is_one_segment:
            return self
        return replace(self, filters=(*self.filters, Filter("segment")))


class Template(Struct, frozen=True):
    text: str  # as written
    parts: tuple[str | Slot, ...]

    def slots(self) -> tuple[Slot, ...]:
        """Return every slot in order, including those inside quoted texts."""
        found: list[Slot] = []
        for part in self.parts:
            if isinstance(part, Slot):
                inner = part.source
                found.extend(inner.slots() if isinstance(inner, Template) else [part])
        return tuple(found)

    def in_segments(self) -> "Template":
        """Return the template with each value kept within one segment of the name."""
        return replace(
            self,
            parts=tuple(p if isinstance(p, str) else p.in_segment() for p in self.parts),
        )

    def paths(self) -> tuple[Path, ...]:
        return tuple(slot.source for slot in self.slots() if isinstance(slot.source, Path))


class TemplateError(ValueError):
    """A template cannot be read; `offset` is the position of the mistake."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


FILTERS: Final[dict[str, Literal["none", "number", "word"]]] = {
    **dict.fromkeys(TEXT_FILTERS, "none"),
    "first": "number",
    "json": "word",
}

# Far more than names need, and well below what Python compiles.
MAX_STEPS: Final = 32
MAX_LISTS: Final = 4
MAX_FILTERS: Final = 16
MAX_QUOTES: Final = 4

_LINES = re.compile(r"[\n\r\t]")
_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_QUOTED_NAME = re.compile(r"""\[(?:"([^"\\]+)"|'([^'\\]+)')\]""")
_DIGITS = re.compile(r"\d{1,6}")
_INDEX = re.compile(r"\[(\d{0,6})\]")
_FILTER = re.compile(r"\s*\|\s*([A-Za-z_]\w*)\s*(?:\(\s*(\w*)\s*\))?")


def parse(text: str) -> Template:
    """Return the template of a text; raise TemplateError if it has a mistake."""
    if text != text.strip() or _LINES.search(text):
        said = "a name has no line breaks or tabs, and no space before or after it"
        raise TemplateError(said, len(text) - len(text.lstrip()) if text.strip() else 0)
    parts = _Reader(text).parts(None)
    made = Template(text, parts)
    _one_chain(made)
    return made


def _one_chain(template: Template) -> None:
    """Raise TemplateError unless the lists of a template are nested in each other."""
    chain: tuple[Path, ...] = ()
    for path in template.paths():
        lists = path.lists()
        shorter, longer = sorted((chain, lists), key=len)
        if longer[: len(shorter)] != shorter:
            said = f"{path.text} is of another list than {_last(template, chain)}"
            raise TemplateError(f"{said}: write two templates", template.text.find(path.text))
        chain = longer


def _last(template: Template, chain: tuple[Path, ...]) -> str:
    return next(path.text for path in template.paths() if path.lists() == chain)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.quotes = 0  # quoted texts that this stands in

    def parts(self, end: str | None) -> tuple[str | Slot, ...]:
        """Return literals and slots up to `end`, which is not consumed."""
        parts: list[str | Slot] = []
        literal = ""
        while (char := self._peek()) != end and char:
            if char in "{}" and self._peek(2) == char * 2:
                literal += char
                self.at += 2
            elif char == "{":
                if literal:
                    parts.append(literal)
                literal = ""
                parts.append(self._slot())
            elif char == "}":
                raise TemplateError("a } without its {; a literal brace is written }}", self.at)
            else:
                literal += char
                self.at += 1
        return (*parts, literal) if literal else tuple(parts)

    def _slot(self) -> Slot:
        start = self.at
        self.at += 1
        self._space()
        source = self._quoted() if self._peek() in ("'", '"') else self._path()
        filters = self._filters()
        optional, default = self._absence()
        filters += self._filters()
        if len(filters) > MAX_FILTERS:
            raise TemplateError(f"a value has at most {MAX_FILTERS} filters", start)
        self._space()
        if self._peek() != "}":
            raise TemplateError(self._unfinished(start), self.at)
        self.at += 1
        if isinstance(source, Template) and (optional or default is not None):
            said = "? and :- belong to a field, inside the quotes: {'{path?}:x'|md5}"
            raise TemplateError(said, start)
        return Slot(source, filters, optional, default, self.text[start : self.at])

    def _unfinished(self, start: int) -> str:
        if self._peek(3) == "[*]":
            written = self.text[start : self.at] + "[]" + self._rest(self.at + 3)
            return f"each element of a list is written [], without *: {written}"
        return f"expected }} here, found {self._peek() or 'the end of the text'}"

    def _quoted(self) -> Template:
        start, quote = self.at, self._peek()
        if self.quotes == MAX_QUOTES:
            raise TemplateError(f"more than {MAX_QUOTES} quoted texts inside each other", start)
        self.at += 1
        self.quotes += 1
        parts = self.parts(quote)
        self.quotes -= 1
        if self._peek() != quote:
            raise TemplateError(f"the closing {quote} of this text is missing", start)
        self.at += 1
        return Template(self.text[start + 1 : self.at - 1], parts)

    def _path(self) -> Path:
        start = self.at
        names: list[Step] = [self._name()]
        while True:
            if self._peek() == ".":
                self.at += 1
                names.append(self._name())
            elif quoted := _QUOTED_NAME.match(self.text, self.at):
                names.append(quoted[1] or quoted[2])
                self.at = quoted.end()
            elif index := _INDEX.match(self.text, self.at):
                names.append(int(index[1]) if index[1] else None)
                self.at = index.end()
            else:
                break
        if len(names) > MAX_STEPS or names.count(None) > MAX_LISTS:
            said = f"a path has at most {MAX_STEPS} steps, {MAX_LISTS} of them through lists"
            raise TemplateError(said, start)
        return _path(names, self.text[start : self.at], start)

    def _name(self) -> str:
        found = _NAME.match(self.text, self.at)
        if not found:
            raise TemplateError(self._no_name(), self.at)
        self.at = found.end()
        return found[0]

    def _no_name(self) -> str:
        before = self.text[self.text.rfind("{", 0, self.at) : self.at]
        if before.endswith(".") and (digits := _DIGITS.match(self.text, self.at)):
            written = f"{before[:-1]}[{digits[0]}]{self._rest(digits.end())}"
            return f"an element of a list is written in brackets: {written}"
        if before.endswith(".") and self._peek() == "*":
            return f"each element of a list is written []: {before[:-1]}[]{self._rest(self.at + 1)}"
        return "expected the name of a field here"

    def _rest(self, at: int) -> str:
        """Return the rest of this slot."""
        end = self.text.find("}", at)
        return self.text[at : end + 1] if end >= 0 else ""

    def _filters(self) -> tuple[Filter, ...]:
        filters: list[Filter] = []
        while found := _FILTER.match(self.text, self.at):
            filters.append(_filter(found[1], found[2], found.start(1)))
            self.at = found.end()
        return tuple(filters)

    def _absence(self) -> tuple[bool, str | None]:
        """Return what is said about absence: `?` or `:-text`."""
        self._space()
        if self._peek() == "?":
            self.at += 1
            return True, None
        if self._peek(2) != ":-":
            return False, None
        end = min(
            (at for at in (self.text.find(c, self.at) for c in "|}") if at >= 0),
            default=len(self.text),
        )
        default = self.text[self.at + 2 : end]
        if not default:
            raise TemplateError("a default is not empty: {path?} leaves the name out", self.at)
        self.at = end
        return False, default

    def _space(self) -> None:
        while self._peek() == " ":
            self.at += 1

    def _peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]


def _path(names: list[Step], text: str, offset: int) -> Path:
    """Return a path from its steps; a first name that is no root is a field of the data."""
    first = names[0]
    if not isinstance(first, str) or first not in ROOTS:
        return Path("data", tuple(names), text)
    if len(names) == 1 and first != "data":
        said = f"{first} is a whole object; for a field of that name write data.{first}"
        raise TemplateError(said, offset)
    if first == "event" and names[1] not in EVENT:
        hint = nearest(str(names[1]), EVENT)
        said = f"an event has no {names[1]}{hint}; a field of its data called event is data.event"
        raise TemplateError(said, offset)
    if first == "root" and names[1] in ("before", "after"):
        raise TemplateError(f"{names[1]} is a root of its own: leave root. out", offset)
    if first in ("headers", "match") and (len(names) != 2 or not isinstance(names[1], str)):
        raise TemplateError(f"{first} holds texts by name: {first}.name", offset)
    return Path(first, tuple(names[1:]), text)


def _filter(name: str, argument: str | None, offset: int) -> Filter:
    wants = FILTERS.get(name)
    if wants is None:
        hint = nearest(name, FILTERS)
        raise TemplateError(f"no filter is called {name}{hint}", offset)
    if wants == "number":
        if not argument or not argument.isdecimal() or not 0 < int(argument[:6]) <= 1024:
            raise TemplateError(f"{name} requires a number from 1 to 1024: {name}(12)", offset)
        return Filter(name, int(argument))
    if wants == "word" and argument in (None, "", "sorted"):
        return Filter(name, argument or None)
    if argument is not None:
        raise TemplateError(f"{name} takes no such argument", offset)
    return Filter(name)
