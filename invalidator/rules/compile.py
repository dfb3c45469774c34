"""Rules as Python functions.

Generated source holds no text of a user but as escaped literals: names of fields are reprs,
literal text is escaped to letters and digits. Each lookup has a fast way inline and a `Field`
whose methods decide exactly and say why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from invalidator.model import Kind
from invalidator.rules import values
from invalidator.rules.schema import Cache, Effect, Rule
from invalidator.rules.template import Filter, Path, Slot, Template

# What every generated function takes: the event's data, the whole event as decoded, its type,
# and where its record is, for what is seldom asked (headers, the record's key).
ARGUMENTS = "data, event, kind, part, index"

Render = Callable[..., tuple[Any, ...]]  # per effect: a name, a list of names, or None
Apply = Callable[..., object]  # renders and adds to sinks

_HELPERS = {
    name: getattr(values, name)
    for name in (
        *("nth", "escape", "headers_of", "key_of", "segments", "too_long"),
        *("md5", "sha1", "sha256", "urlencode", "as_json", "as_sorted_json"),
    )
}
_MISSING = "except (KeyError, TypeError, IndexError):"


@dataclass(frozen=True, slots=True)
class Unit:
    """One rule by one of its patterns, with all that its code needs."""

    rule: Rule
    pattern: int
    cache: Cache
    sinks: tuple[tuple[int, ...], ...]  # per effect: where its names go


@dataclass(slots=True)
class _Code:
    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=lambda: dict(_HELPERS))
    used: int = 0

    def new(self, letter: str) -> str:
        self.used += 1
        return f"{letter}{self.used}"

    def constant(self, value: object) -> str:
        name = self.new("K")
        self.names[name] = value
        return name

    def add(self, depth: int, *lines: str) -> None:
        self.lines.extend("    " * depth + line for line in lines)

    def function(self, name: str, title: str) -> Callable[..., Any]:
        code = compile("\n".join(self.lines) + "\n", f"<rules: {title}>", "exec")
        exec(code, self.names)  # noqa: S102 - the design: rules compiled once, literals escaped
        made: Callable[..., Any] = self.names[name]
        return made


def applying(units: Sequence[Unit]) -> Apply:
    """One function that holds all these rules: renders, then adds to `sinks`."""
    code = _Code()
    code.add(0, f"def apply({ARGUMENTS}, sinks):")
    for unit in units:
        names = _Renderer(code, unit).render(1)
        for name, sinks in zip(names, unit.sinks, strict=True):
            for sink in sinks:
                name.emit(code, sink)
    code.add(1, "return None")
    return code.function("apply", ", ".join(unit.rule.name for unit in units)[:80])


def rendering(unit: Unit) -> Render:
    """The same code for one rule alone, giving its names instead of adding them."""
    code = _Code()
    code.add(0, f"def render({ARGUMENTS}):")
    names = _Renderer(code, unit).render(1)
    code.add(1, f"return ({', '.join(name.variable for name in names)},)")
    return code.function("render", unit.rule.name)


@dataclass(frozen=True, slots=True)
class _Rendered:
    variable: str
    many: bool
    droppable: bool  # it may be None

    def emit(self, code: _Code, sink: int) -> None:
        if self.many:
            code.add(1, f"for name in {self.variable}: sinks[{sink}](name)")
        elif self.droppable:
            code.add(1, f"if {self.variable} is not None: sinks[{sink}]({self.variable})")
        else:
            code.add(1, f"sinks[{sink}]({self.variable})")


def _literal(text: str) -> str:
    """Text inside a generated literal: nothing but letters, digits and escapes."""
    return "".join(
        char if char.isascii() and (char.isalnum() or char in " :_-./") else f"\\U{ord(char):08x}"
        for char in text
    )


class _Renderer:
    """Writes the code that renders one rule's names into variables."""

    def __init__(self, code: _Code, unit: Unit) -> None:
        self.code = code
        self.unit = unit
        self.known: dict[object, str] = {}  # lookups that several templates share

    def render(self, depth: int) -> list[_Rendered]:
        return [self._effect(effect, depth) for effect in self.unit.rule.effects]

    def _effect(self, effect: Effect, depth: int) -> _Rendered:
        template = effect.template
        lists = _chain(template)
        droppable = any(slot.optional for slot in template.slots())
        if not lists:
            name = self._name(effect, {}, depth)
            return _Rendered(name, many=False, droppable=droppable)
        names = self.code.new("n")
        self.code.add(depth, f"{names} = []")
        elements: dict[Path, str] = {}
        for path in lists:
            element = self._loop(template, path, elements, depth)
            elements[path] = element
            depth += 1
        name = self._name(effect, elements, depth)
        guard = f"if {name} is not None: " if droppable else ""
        self.code.add(depth, f"{guard}{names}.append({name})")
        self._bound(template, names, 1 + depth - len(lists), depth)
        return _Rendered(names, many=True, droppable=False)

    def _bound(self, template: Template, names: str, outer: int, depth: int) -> None:
        if depth - outer < 1:
            return  # one list: its own length is bounded
        most = self.unit.rule.max_keys
        owner = self.code.constant(_owner(template, template.paths()[0], "data", ()))
        check = f"if len({names}) > {most}: raise {owner}.many(len({names}), {most})"
        self.code.add(depth, check)

    def _loop(self, template: Template, path: Path, elements: dict[Path, str], depth: int) -> str:
        """`for element in list:`; gives the element's variable."""
        slot = next(slot for slot in template.slots() if path in _lists(slot))
        start, steps = self._start(path, elements)
        spare = slot.optional or slot.default is not None
        owner = values.Field(template.text, _written(path), path.root, steps, optional=spare)
        known = self.code.constant(owner)
        found, element = self.code.new("l"), self.code.new("e")
        self._lookup(found, start, steps, known, depth)
        self.code.add(
            depth,
            f"for {element} in {known}.each({found}, {self.unit.rule.max_keys}):",
        )
        return element

    def _name(self, effect: Effect, elements: dict[Path, str], depth: int) -> str:
        """One name: its slots into variables, then the whole text."""
        optional: list[str] = []
        text = self._text(effect.template, effect.kind, elements, depth, optional, outer=True)
        name = self.code.new("n")
        if optional:
            missing = " or ".join(f"{variable} is None" for variable in optional)
            self.code.add(depth, f"{name} = None if {missing} else {text}")
            self.code.add(depth, f"if {name} is not None and len({name}) > {values.MAX_NAME}:")
        else:
            self.code.add(depth, f"{name} = {text}", f"if len({name}) > {values.MAX_NAME}:")
        written = self.code.constant(effect.template.text)
        self.code.add(depth + 1, f"raise too_long({written}, {name})")
        return name

    def _text(
        self,
        template: Template,
        kind: Kind,
        elements: dict[Path, str],
        depth: int,
        optional: list[str],
        *,
        outer: bool,
    ) -> str:
        """An f-string of the template."""
        prefix = self.unit.cache.prefix if outer and kind in ("keys", "patterns") else ""
        if kind == "patterns":
            prefix = values.escape(prefix)
        pieces = [_literal(prefix)]
        for part in template.parts:
            if isinstance(part, str):
                pieces.append(_literal(part))
                continue
            value = self._slot(part, template, kind, elements, depth, optional)
            if kind == "patterns" and outer:
                value = self._escaped(value, depth, droppable=part.optional)
            pieces.append(f"{{{value}}}")
        return f"f'{''.join(pieces)}'"

    def _escaped(self, value: str, depth: int, *, droppable: bool) -> str:
        escaped = self.code.new("v")
        test = f"type({value}) is int or {value}.isalnum()"
        if droppable:
            test = f"{value} is None or {test}"
        self.code.add(depth, f"{escaped} = {value} if {test} else escape({value})")
        return escaped

    def _slot(
        self,
        slot: Slot,
        template: Template,
        kind: Kind,
        elements: dict[Path, str],
        depth: int,
        optional: list[str],
    ) -> str:
        """The variable that holds a slot's value, filtered."""
        if isinstance(slot.source, Template):
            inner = self._text(slot.source, kind, elements, depth, optional, outer=False)
            value = self.code.new("v")
            self.code.add(depth, f"{value} = {inner}")
            owner = self.code.constant(values.Field(template.text, slot.text, "data", ()))
            return self._filtered(value, slot.filters, owner, depth, droppable=False)
        key = (slot.source, slot.filters, slot.optional, slot.default)
        variable = self.known.get(key)
        if variable is None:
            variable = self._value(slot, slot.source, template, elements, depth)
            if not slot.source.lists():
                self.known[key] = variable
        if slot.optional:
            optional.append(variable)
        return variable

    def _value(
        self, slot: Slot, path: Path, template: Template, elements: dict[Path, str], depth: int
    ) -> str:
        start, steps = self._start(path, elements)
        owner = self.code.constant(
            values.Field(template.text, path.text, path.root, steps, slot.optional, slot.default)
        )
        value = self.code.new("v")
        self._lookup(value, start, steps, owner, depth)
        filters = slot.filters
        if filters and filters[0].name == "json":
            function = "as_sorted_json" if filters[0].argument else "as_json"
            self.code.add(depth, f"{value} = {owner}.present({value}, {function})")
            filters = filters[1:]
        else:
            self.code.add(
                depth,
                f"if type({value}) is str:",
                f"    if not ({value} and {value}.isprintable()): {value} = {owner}.text({value})",
                f"elif type({value}) is not int: {value} = {owner}.text({value})",
            )
        return self._filtered(value, filters, owner, depth, droppable=slot.optional)

    def _filtered(
        self, value: str, filters: tuple[Filter, ...], owner: str, depth: int, *, droppable: bool
    ) -> str:
        if not filters:
            return value
        text, emptied = f"str({value})", False
        for entry in filters:
            text = _FILTERS[entry.name](text, entry.argument)
            emptied = emptied or entry.name in ("trim", "first")
        if emptied:
            text = f"{owner}.filled({text})"
        if droppable:
            text = f"None if {value} is None else {text}"
        self.code.add(depth, f"{value} = {text}")
        return value

    def _start(self, path: Path, elements: dict[Path, str]) -> tuple[str, tuple[Any, ...]]:
        """The expression that a path starts from, and the steps left to walk."""
        lists = [known for known in path.lists() if known in elements]
        if lists:
            nearest = lists[-1]
            return elements[nearest], path.steps[len(nearest.steps) + 1 :]
        return self._root(path)

    def _root(self, path: Path) -> tuple[str, tuple[Any, ...]]:
        first = path.steps[0] if path.steps else None
        if path.root == "data":
            return "data", path.steps
        if path.root == "headers":
            return "headers_of(part, index)", path.steps
        if path.root == "match":
            at = dict(self.unit.rule.on[self.unit.pattern].captures)[str(first)]
            return f"segments(kind)[{at}]", ()
        if path.root == "event":
            if first == "type":
                return "kind", path.steps[1:]
            if first == "key":
                return "key_of(part, index)", path.steps[1:]
            return "event", path.steps
        return "event", (path.root, *path.steps)

    def _lookup(
        self, variable: str, start: str, steps: tuple[Any, ...], owner: str, depth: int
    ) -> None:
        expression = start
        for step in steps:
            if isinstance(step, int):
                expression = f"nth({expression}, {step})"
            else:
                expression = f"{expression}['{_literal(step)}']"
        if not steps:
            self.code.add(depth, f"{variable} = {expression}")
            return
        self.code.add(
            depth,
            f"try: {variable} = {expression}",
            f"{_MISSING} {variable} = {owner}.absent({start})",
        )


def _lists(slot: Slot) -> tuple[Path, ...]:
    return slot.source.lists() if isinstance(slot.source, Path) else ()


def _chain(template: Template) -> list[Path]:
    """The lists that a template goes through, the outermost first."""
    found = {path: None for slot in template.slots() for path in _lists(slot)}
    return sorted(found, key=lambda path: len(path.steps))


def _written(path: Path) -> str:
    text = "" if path.root == "data" else path.root
    for step in path.steps:
        text = values._joined(text, step)
    return text


def _owner(template: Template, path: Path, root: str, steps: tuple[Any, ...]) -> values.Field:
    return values.Field(template.text, path.text, root, steps)


_FILTERS: dict[str, Callable[[str, Any], str]] = {
    "lower": lambda text, _: f"{text}.lower()",
    "upper": lambda text, _: f"{text}.upper()",
    "trim": lambda text, _: f"{text}.strip()",
    "urlencode": lambda text, _: f"urlencode({text})",
    "md5": lambda text, _: f"md5({text})",
    "sha1": lambda text, _: f"sha1({text})",
    "sha256": lambda text, _: f"sha256({text})",
    "first": lambda text, count: f"{text}[:{int(count)}]",
    "json": lambda text, how: f"as_sorted_json({text})" if how else f"as_json({text})",
}
