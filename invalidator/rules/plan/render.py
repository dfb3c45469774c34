"""The code that renders names: fast ways inline, `Field` where they do not fit."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from invalidator import layout
from invalidator.model import Kind
from invalidator.rules import globs
from invalidator.templates import Path, Slot, Step, Template, values
from invalidator.templates.code import Code, as_text, filtered, literal, looked_up
from invalidator.templates.values import joined


class Rendered(Struct, frozen=True):
    """The variable that holds one template's names."""

    variable: str
    many: bool  # a list of names
    droppable: bool  # one name, or None


class _Setting(Struct, frozen=True):
    """The place in the code at which a template is being written."""

    template: Template
    kind: Kind
    depth: int
    elements: Mapping[Path, str] = field(default_factory=dict)  # lists being looped over
    optional: list[str] = field(default_factory=list)  # variables: None drops the name


class Renderer:
    """Writes the code for the templates of one rule."""

    def __init__(
        self,
        code: Code,
        prefix: str,
        captures: Mapping[str, int],
        most: int,
        *,
        lenient: bool = False,
    ) -> None:
        self.code = code
        self.prefix = prefix
        self.captures = captures
        self.most = most
        self.lenient = lenient  # a missing value gives no name: change events try both rows
        self.known: dict[object, str] = {}  # lookups that several templates share

    def template(self, template: Template, kind: Kind, depth: int) -> Rendered:
        if self.lenient:
            template = lenient(template)
        lists = chain(template)
        droppable = any(slot.optional for slot in template.slots())
        if not lists:
            name = self._name(_Setting(template, kind, depth))
            return Rendered(name, many=False, droppable=droppable)
        return Rendered(self._each(template, kind, depth, lists), many=True, droppable=False)

    def _each(self, template: Template, kind: Kind, depth: int, lists: list[Path]) -> str:
        """Write one name per element."""
        names = self.code.new("n")
        self.code.add(depth, f"{names} = []")
        setting = _Setting(template, kind, depth)
        for slot in template.slots():
            if not lists_of(slot):
                self._slot(slot, setting)  # before the loop, which may never run
        absent = list(setting.optional)
        for path in lists:
            found, element = self._loop(path, setting)
            absent += [] if setting.elements else [found]
            elements = {**setting.elements, path: element}
            setting = replace(setting, depth=setting.depth + 1, elements=elements)
        name = self._name(setting)
        guard = f"if {name} is not None: " if setting.optional else ""
        self.code.add(setting.depth, f"{guard}{names}.append({name})")
        if len(lists) > 1:
            text = self.code.constant(template.text)
            check = f"if len({names}) > {self.most}: raise too_many({text}, {self.most})"
            self.code.add(setting.depth, check)
        if self.lenient:  # no name because of what is missing, not because a list is empty
            missing = " or ".join(f"{variable} is None" for variable in absent)
            self.code.add(depth, f"if {missing}: {names} = None")
        return names

    def _loop(self, path: Path, setting: _Setting) -> tuple[str, str]:
        """Write `for element in list:`; return the variables of both."""
        slot = next(slot for slot in setting.template.slots() if path in lists_of(slot))
        start, steps = self._start(path, setting)
        spare = slot.optional or slot.default is not None or self.lenient
        owner = self.code.constant(
            values.Field(setting.template.text, written(path), path.root, steps, optional=spare)
        )
        found, element = self.code.new("l"), self.code.new("e")
        self.code.add(setting.depth, *looked_up(found, start, steps, owner))
        line = f"for {element} in {owner}.each({found}, {self.most}):"
        self.code.add(setting.depth, line)
        return found, element

    def _name(self, setting: _Setting) -> str:
        """Write one name: its slots into variables, then the whole text."""
        prefix = self.prefix if setting.kind in ("keys", "patterns") else ""
        if setting.kind == "patterns":
            prefix = values.escape(prefix)
        text = self._text(setting.template, setting, prefix, escaped=setting.kind == "patterns")
        name, depth = self.code.new("n"), setting.depth
        long = f"len({name}) > {values.MAX_NAME}"
        if setting.optional:
            missing = " or ".join(f"{variable} is None" for variable in setting.optional)
            text = f"None if {missing} else {text}"
            long = f"{name} is not None and {long}"
        owner = self.code.constant(setting.template.text)
        self.code.add(
            depth, f"{name} = {text}", f"if {long}:", f"    raise too_long({owner}, {name})"
        )
        names = globs.of_template(setting.template, prefix, glob=False)
        if setting.kind == "keys" and globs.meet(_OWN, names):  # what an event says must not
            self.code.add(
                depth,
                f"if {name} is not None and {name}.startswith('{layout.OWN}'):",
                f"    raise own({owner}, {name})",
            )
        return name

    def _text(self, template: Template, setting: _Setting, prefix: str, *, escaped: bool) -> str:
        """Return an f-string of a template."""
        pieces = [literal(prefix)]
        for part in template.parts:
            if isinstance(part, str):
                pieces.append(literal(part))
                continue
            value = self._slot(part, setting)
            pieces.append(f"{{{self._escaped(value, setting) if escaped else value}}}")
        return f"f'{''.join(pieces)}'"

    def _escaped(self, value: str, setting: _Setting) -> str:
        escaped = self.code.new("v")
        test = f"type({value}) is not str or {value}.isalnum()"
        self.code.add(setting.depth, f"{escaped} = {value} if {test} else escape({value})")
        return escaped

    def _slot(self, slot: Slot, setting: _Setting) -> str:
        """Return the variable that holds a slot's value, filtered."""
        if isinstance(slot.source, Template):
            return self._quoted(slot, slot.source, setting)
        key = (slot.source, slot.filters, slot.optional, slot.default)
        variable = self.known.get(key)
        if variable is None:
            variable = self._value(slot, slot.source, setting)
            if not slot.source.lists():
                self.known[key] = variable
        if slot.optional and variable not in setting.optional:
            setting.optional.append(variable)
        return variable

    def _quoted(self, slot: Slot, inner: Template, setting: _Setting) -> str:
        """Write a text of its own, filtered as a whole."""
        text = self._text(inner, setting, "", escaped=False)
        value = self.code.new("v")
        self.code.add(setting.depth, f"{value} = {text}")
        owner = self.code.constant(values.Field(setting.template.text, slot.text, "data", ()))
        lines = filtered(value, slot.filters, owner, droppable=False)
        self.code.add(setting.depth, *lines)
        return value

    def _value(self, slot: Slot, path: Path, setting: _Setting) -> str:
        start, steps = self._start(path, setting)
        owner = self.code.constant(
            values.Field(
                setting.template.text, path.text, path.root, steps, slot.optional, slot.default
            )
        )
        value = self.code.new("v")
        self.code.add(setting.depth, *looked_up(value, start, steps, owner))
        lines = as_text(value, slot.filters, owner, droppable=slot.optional)
        self.code.add(setting.depth, *lines)
        return value

    def _start(self, path: Path, setting: _Setting) -> tuple[str, tuple[Step, ...]]:
        """Return the expression that a path starts from, and the steps left to walk."""
        lists = [known for known in path.lists() if known in setting.elements]
        if lists:
            return setting.elements[lists[-1]], path.steps[len(lists[-1].steps) + 1 :]
        if path.root == "match":
            return f"segments(kind)[{self.captures[str(path.steps[0])]}]", ()
        if path.root == "event":
            first = str(path.steps[0])
            return AROUND.get(first, f"event.get('{literal(first)}')"), path.steps[1:]
        return ROOTS[path.root], path.steps


_OWN: Final = globs.tokens(f"{layout.OWN}*")

# The expressions of roots, and of `event`'s fields where they are not simply its own.
ROOTS: Final = {
    "data": "data",
    "root": "event",
    "headers": "headers_of(part, index)",
    "before": "row_of('before', event, data)",
    "after": "row_of('after', event, data)",
}
AROUND: Final = {
    "type": "kind",
    "source": "source_of(event, part)",
    "key": "key_of(part, index)",
    "extensions": "extensions_of(event)",
}


def lists_of(slot: Slot) -> tuple[Path, ...]:
    return slot.source.lists() if isinstance(slot.source, Path) else ()


def chain(template: Template) -> list[Path]:
    """Return the lists that a template goes through, the outermost first."""
    found = {path: None for slot in template.slots() for path in lists_of(slot)}
    return sorted(found, key=lambda path: len(path.steps))


def lenient(template: Template) -> Template:
    """Return the same template, giving no name where a value is missing."""
    return Template(
        template.text,
        tuple(part if isinstance(part, str) else _lenient_slot(part) for part in template.parts),
    )


def _lenient_slot(slot: Slot) -> Slot:
    if isinstance(slot.source, Template):
        return replace(slot, source=lenient(slot.source))
    return slot if slot.default is not None or slot.source.lists() else replace(slot, optional=True)


def written(path: Path) -> str:
    """Return a path as an author writes it."""
    text = "" if path.root == "data" else path.root
    for step in path.steps:
        text = joined(text, step)
    return text
