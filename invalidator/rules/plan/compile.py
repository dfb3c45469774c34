"""Compile rules to Python functions: all rules of a type in one, and each rule alone."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from invalidator.errors import Rejected
from invalidator.rules.condition import ConditionError, Fragment, reads, to_python
from invalidator.rules.plan.draft import LISTED, NOTE
from invalidator.rules.plan.fields import HELPERS
from invalidator.rules.plan.render import AROUND, ROOTS, Rendered, Renderer
from invalidator.rules.rule import Cache, Condition, Rule
from invalidator.templates.code import Code, literal

Apply = Callable[..., object]  # renders and adds to sinks
Render = Callable[..., tuple[Any, ...]]  # per effect: a name, a list of names, or None
Decide = Callable[..., bool]  # a rule's condition; may raise ConditionError

# What every generated function takes: the event's data, what stands around it, its type, and
# where its record is, for what is seldom asked (headers, the record's key).
ARGUMENTS: Final = "data, event, kind, part, index"

FEW: Final = 16  # names of a list that need not be counted


class Unit(Struct, frozen=True):
    """One rule and the pattern that matched, with all that its code needs."""

    rule: Rule
    pattern: int
    cache: Cache
    sinks: tuple[tuple[int, ...], ...]  # per effect: where its names go

    @property
    def captures(self) -> dict[str, int]:
        return dict(self.rule.on[self.pattern].captures)


def compile_plain(units: Sequence[Unit]) -> Apply:
    """Return one function for all these rules; each renders all names before it adds one."""
    code = Code(HELPERS)
    code.add(0, f"def apply({ARGUMENTS}, sinks):")
    for unit in units:
        depth = _condition(code, unit)
        _emit_all(code, _names(code, unit, depth), unit, depth)
    code.add(1, "return None")
    return code.function("apply", ", ".join(unit.rule.name for unit in units)[:80])


def compile_update(units: Sequence[Unit]) -> Apply:
    """Return one function for all these rules and an updated row; each renders both rows.

    It raises wherever one of the rows is incomplete: then the slow path decides.
    """
    code = Code(HELPERS)
    code.add(0, f"def change(new, old, {ARGUMENTS.removeprefix('data, ')}, sinks):")
    for unit in units:
        depth = 1 if unit.rule.when is None else _either(code, unit.rule.when, unit)
        code.add(depth, "data = new")
        names = _names(code, unit, depth)
        code.add(depth, f"if {_differ(code, unit.rule)}:", "    data = old")
        _emit_all(code, _names(code, unit, depth + 1), unit, depth + 1)
        _emit_all(code, names, unit, depth)
    code.add(1, "return None")
    return code.function("change", ", ".join(unit.rule.name for unit in units)[:80])


def _differ(code: Code, rule: Rule) -> str:
    """Return a test of whether the old row may give other names than the new one.

    Equal texts and equal integers give equal names; anything else is rendered, since 1 == True.
    """
    columns: set[str] = set()
    for effect in rule.effects:
        for path in effect.template.paths():
            if path.root in ("match", "event", "root"):
                continue  # not of a row
            if path.root != "data" or not path.steps:
                return "True"
            columns.add(str(path.steps[0]))
    return " or ".join(_differ_in(code, column) for column in sorted(columns)) or "False"


def _differ_in(code: Code, column: str) -> str:
    one, other, name = code.new("o"), code.new("o"), literal(column)
    values = f"({one} := new.get('{name}')) != ({other} := old.get('{name}'))"
    integers = f"type({one}) is int and type({other}) is int"
    return f"{values} or not (type({one}) is str or {integers})"


def _either(code: Code, condition: Condition, unit: Unit) -> int:
    """Add a test of whether it holds for a row; return the depth of the code that follows."""
    fragment, answer = _fragment(condition, unit), code.new("c")
    code.globals.update(fragment.globals)
    code.add(1, "data = new", *fragment.assign(answer))
    code.add(1, f"if not {answer}:", "    data = old")
    code.add(2, *fragment.assign(answer))
    code.add(1, f"if {answer}:")
    return 2


def compile_rendering(unit: Unit, *, lenient: bool = False) -> Render:
    """Return a function for one rule that returns its names instead of adding them."""
    code = Code(HELPERS)
    code.add(0, f"def render({ARGUMENTS}):")
    names = _names(code, unit, 1, lenient=lenient)
    code.add(1, f"return ({', '.join(name.variable for name in names)},)")
    return code.function("render", unit.rule.name)


def compile_condition(unit: Unit) -> Decide | None:
    """Return a function of a rule's condition alone."""
    if unit.rule.when is None:
        return None
    code = Code(HELPERS)
    code.add(0, f"def decide({ARGUMENTS}):")
    fragment = _fragment(unit.rule.when, unit)
    code.globals.update(fragment.globals)
    code.add(1, *fragment.assign("answer"), "return answer")
    return code.function("decide", unit.rule.name)


def _names(code: Code, unit: Unit, depth: int, *, lenient: bool = False) -> list[Rendered]:
    rule = unit.rule
    renderer = Renderer(code, unit.cache.prefix, unit.captures, rule.max_keys, lenient=lenient)
    names = [renderer.template(entry.template, entry.kind, depth) for entry in rule.effects]
    many = [name.variable for name in names if name.many]
    if many and len(names) > 1:
        each = (f"len({name} or ())" if lenient else f"len({name})" for name in many)
        count = " + ".join([*each, str(len(names) - len(many))])
        title = code.constant(f"rule {rule.name}")
        code.add(depth, f"if {count} > {rule.max_keys}: raise too_many({title}, {rule.max_keys})")
    return names


def _emit_all(code: Code, names: Sequence[Rendered], unit: Unit, depth: int) -> None:
    for name, sinks in zip(names, unit.sinks, strict=True):
        for sink in sinks:
            _emit(code, name, sink, depth)
        if name.many:
            counted = f"sinks[{LISTED}]({name.variable}, index)"
            code.add(depth, f"if len({name.variable}) > {FEW}: {counted}")


def _emit(code: Code, name: Rendered, sink: int, depth: int) -> None:
    if name.many:
        code.add(depth, f"for name in {name.variable}: sinks[{sink}](name)")
    elif name.droppable:
        code.add(depth, f"if {name.variable} is not None: sinks[{sink}]({name.variable})")
    else:
        code.add(depth, f"sinks[{sink}]({name.variable})")


def _condition(code: Code, unit: Unit) -> int:
    """Add the rule's condition; return the depth of the code that follows."""
    rule = unit.rule
    if rule.when is None:
        return 1
    fragment, answer = _fragment(rule.when, unit), code.new("c")
    code.globals.update(fragment.globals)
    failed = code.constant(Failed(rule))
    code.add(1, "try:")
    code.add(2, *fragment.assign(answer))
    code.add(1, "except ConditionError as error:")
    code.add(2, f"{answer} = {failed}(error, sinks[{NOTE}], index)", f"if {answer} is None: raise")
    code.add(1, f"if {answer}:")
    return 2


def _fragment(condition: Condition, unit: Unit) -> Fragment:
    fields = {f"event.{read.path[0]}" for read in reads(condition.tree) if read.root == "event"}
    around = {name: AROUND.get(name[6:], f"event.get('{name[6:]}')") for name in sorted(fields)}
    match = ", ".join(f"'{name}': segments(kind)[{at}]" for name, at in unit.captures.items())
    return to_python(condition.tree, {**ROOTS, "match": f"{{{match}}}", **around})


class Failed(Struct, frozen=True):
    """Decides for a rule whose condition failed: by default too much rather than too little."""

    rule: Rule

    def __call__(
        self, error: ConditionError, note: Callable[[tuple[str, str, str], int], object], index: int
    ) -> bool | None:
        """Return whether the rule applies; None if the event is rejected."""
        if self.rule.on_error == "reject":
            return None
        note((self.rule.name, "condition-failed", f"{self.text}: {error.message}"), index)
        return self.rule.on_error == "apply"

    @property
    def text(self) -> str:
        return self.rule.when.text if self.rule.when else ""

    def rejected(self, error: ConditionError) -> Rejected:
        return Rejected(error.message, error="condition-failed", what=self.text)
