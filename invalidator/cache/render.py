"""The names of a cached function's entries, rendered from its arguments.

The code for each value is the one that the daemon's rules use, so that both name the same key.
"""

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from invalidator.cache.errors import BadName
from invalidator.errors import Rejected
from invalidator.layout import OWN
from invalidator.templates import Path, Slot, Template, TemplateError, parse, values
from invalidator.templates.code import Code, as_text, filtered, literal, looked_up
from invalidator.templates.declared import Declared

MOST_STAMPS: Final = 16  # each hit reads them all

# Gives the entry's key, and the names of its stamps and versions.
Render = Callable[..., tuple[str, tuple[str, ...]]]


class Layout(Struct, frozen=True):
    """How the names of a cache begin and look."""

    prefix: str
    stamp: str  # with {tag}
    version: str  # with {name}


class _Argument(values.Field, frozen=True):
    """A value among a function's arguments."""

    def text(self, value: object) -> Any:
        if isinstance(value, UUID):
            value = str(value)
        elif isinstance(value, Enum):
            value = value.value
        return super().text(value)


def renderer(
    function: Callable[..., Any],
    key: str,
    tags: Sequence[str],
    versions: Sequence[str],
    layout: Layout,
) -> Render:
    """Compile the templates of a function; raise BadName if one of them has a mistake."""
    signature = inspect.signature(function)
    written = _Written(list(signature.parameters))
    written.name(_parsed(key), layout.prefix, is_key=True)
    stamps = [(tag, layout.stamp, "{tag}") for tag in tags] + [
        (v, layout.version, "{name}") for v in versions
    ]
    if len(stamps) > MOST_STAMPS:
        raise BadName(f"{key} depends on more than {MOST_STAMPS} tags and versions")
    for text, name, slot in stamps:
        before, _, after = name.partition(slot)
        written.name(_parsed(text), before, after)
    if not written.used:
        raise BadName(
            f"{key} names no argument of {function.__qualname__}: all calls would share it"
        )
    return _bound(signature, written)


def declared(
    function: Callable[..., Any],
    key: str,
    tags: Sequence[str],
    versions: Sequence[str],
    layout: Layout,
) -> Declared:
    """Return the templates of a function, and where it stands."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    return Declared(
        f"{inner.__module__}.{inner.__qualname__}",
        code.co_filename if code else "",
        code.co_firstlineno if code else 0,
        layout.prefix,
        key,
        tuple(tags),
        tuple(versions),
        layout.stamp,
        layout.version,
    )


def _parsed(text: str) -> Template:
    try:
        return parse(text)
    except TemplateError as error:
        raise BadName(f"{text}: {error}") from None


class _Written:
    """The code of a function that renders all names from the arguments it uses."""

    def __init__(self, parameters: list[str]) -> None:
        self.code = Code()
        self.parameters = parameters
        self.used: dict[str, str] = {}  # parameter -> variable, of those that the key names
        self.all_used: dict[str, str] = {}
        self.names: list[tuple[str, bool]] = []  # variable; whether it may be None

    def name(
        self, template: Template, prefix: str, suffix: str = "", *, is_key: bool = False
    ) -> None:
        optional: list[str] = []
        text = self._text(template, prefix, suffix, optional)
        if is_key:
            self.used = dict(self.all_used)
            if optional:
                raise BadName(f"{template.text}: an entry always has a key, so no ? belongs in it")
        if optional:
            missing = " or ".join(f"{variable} is None" for variable in optional)
            text = f"None if {missing} else {text}"
        name, owner = self.code.new("n"), self.code.constant(template.text)
        there = f"{name} is not None and " if optional else ""
        self.code.add(1, f"{name} = {text}")
        self.code.add(
            1, f"if {there}len({name}) > {values.MAX_NAME}: raise too_long({owner}, {name})"
        )
        if is_key:
            own = self.code.constant(_own)
            self.code.add(1, f"if {name}.startswith('{OWN}'): raise {own}({owner}, {name})")
        self.names.append((name, bool(optional)))

    def _text(self, template: Template, prefix: str, suffix: str, optional: list[str]) -> str:
        pieces = [literal(prefix)]
        for part in template.parts:
            if isinstance(part, str):
                pieces.append(literal(part))
            else:
                pieces.append(f"{{{self._slot(part, template, optional)}}}")
        return f"f'{''.join(pieces)}{literal(suffix)}'"

    def _slot(self, slot: Slot, template: Template, optional: list[str]) -> str:
        variable = self.code.new("v")
        if isinstance(slot.source, Template):
            inner = self._text(slot.source, "", "", optional)
            owner = self.code.constant(_Argument(template.text, slot.text, "data", ()))
            self.code.add(1, f"{variable} = {inner}")
            self.code.add(1, *filtered(variable, slot.filters, owner, droppable=False))
            return variable
        path = slot.source
        parameter, steps = self._parameter(path, template)
        field = _Argument(template.text, path.text, parameter, steps, slot.optional, slot.default)
        owner = self.code.constant(field)
        self.code.add(1, *looked_up(variable, self.all_used[parameter], steps, owner))
        self.code.add(1, *as_text(variable, slot.filters, owner, droppable=slot.optional))
        if slot.optional:
            optional.append(variable)
        return variable

    def _parameter(self, path: Path, template: Template) -> tuple[str, tuple[Any, ...]]:
        first = path.steps[0]
        if path.root != "data" or not isinstance(first, str):
            raise BadName(
                f"{template.text}: {path.text} belongs to an event; a function has arguments"
            )
        if first not in self.parameters:
            known = ", ".join(self.parameters) or "none"
            raise BadName(f"{template.text}: no argument is called {first}; there are: {known}")
        if path.lists():
            raise BadName(f"{template.text}: a list would give several names")
        self.all_used.setdefault(first, f"p{len(self.all_used)}")
        return first, path.steps[1:]


def _bound(signature: inspect.Signature, written: _Written) -> Render:
    """Return a function with the original's parameters, which Python binds by itself."""
    code = written.code
    key, *stamps = written.names
    if any(optional for _, optional in stamps):
        listed = ", ".join(name for name, _ in stamps)
        plain = f"*(name for name in ({listed},) if name is not None),"
    else:
        plain = "".join(f"{name}, " for name, _ in stamps)
    code.add(1, f"return {key[0]}, ({plain})")
    head = f"def render({', '.join(written.all_used.values())}):"
    code.lines.insert(0, head)
    render = code.function("render", "names")
    return _with_parameters(signature, list(written.all_used), render)


def _with_parameters(
    signature: inspect.Signature, used: list[str], render: Callable[..., Any]
) -> Render:
    scope: dict[str, Any] = {"_render_": render}
    for number, parameter in enumerate(signature.parameters.values()):
        scope[f"_default_{number}_"] = parameter.default
    head = _parameters(list(signature.parameters.values()))
    source = f"def bind({head}): return _render_({', '.join(used)})"
    exec(compile(source, "<names>", "exec"), scope)  # noqa: S102 - built of identifiers alone
    bind: Render = scope["bind"]
    return bind


def _parameters(parameters: Sequence[inspect.Parameter]) -> str:
    """Write a parameter list whose defaults are globals of the generated function."""
    pieces: list[str] = []
    kinds = inspect.Parameter
    starred = False
    for number, parameter in enumerate(parameters):
        if parameter.kind is kinds.KEYWORD_ONLY and not starred:
            pieces.append("*")
            starred = True
        star = _STARS.get(parameter.kind, "")
        starred = starred or parameter.kind is kinds.VAR_POSITIONAL
        default = "" if parameter.default is kinds.empty else f"=_default_{number}_"
        pieces.append(f"{star}{parameter.name}{default}")
        following = parameters[number + 1].kind if number + 1 < len(parameters) else None
        if parameter.kind is kinds.POSITIONAL_ONLY and following is not kinds.POSITIONAL_ONLY:
            pieces.append("/")
    return ", ".join(pieces)


_STARS: Final[dict[object, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def _own(template: str, name: str) -> Rejected:
    said = f"names that begin with {OWN} are invalidator's own: {name}"
    return Rejected(said, error="own-name", what=template)
