"""`check --cache`: which templates of a service no rule reaches, and which rules reach none.

A slot counts as any text without a colon here, so that `order:{id}` is another family of keys than
`order:single:{id}`: what is reported is what its author should look at.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from invalidator.errors import Problem
from invalidator.model import Kind
from invalidator.rules import globs
from invalidator.rules.file.validate import problem
from invalidator.rules.lint import Finding
from invalidator.rules.rule import Effect, Place
from invalidator.rules.ruleset import RuleSet
from invalidator.templates import Template, parse
from invalidator.templates.declared import Declared

Shape = list[globs.Token]


class _Given(Struct, frozen=True):
    """The names that an effect of a rule gives in Redis."""

    effect: Effect
    shapes: tuple[Shape, ...]  # one for each layout of a tag


def compare(ruleset: RuleSet, declared: Sequence[Declared]) -> list[Finding]:
    """Return what a service caches and rules do not reach, and the reverse."""
    given = [*_given(ruleset)]
    shapes = [(one, list(_shapes(one))) for one in declared]
    found = [
        Finding("warning", _unreached(one, given))
        for one, wanted in shapes
        if not any(_meet(shape, each) for shape in wanted for each in given)
    ]
    rendered = [shape for _, wanted in shapes for shape in wanted]
    found += [
        Finding("note", _unrendered(each))
        for each in given
        if not any(_meet(shape, each) for shape in rendered)
    ]
    return sorted(found, key=lambda entry: (entry.problem.file, entry.problem.line))


def _shapes(one: Declared) -> Iterator[Shape]:
    """Yield the names in Redis whose deletion or rise invalidates the function's entries."""
    yield _shape(parse(one.key), one.prefix)
    for texts, layout, slot in (
        (one.tags, one.stamp, "{tag}"),
        (one.versions, one.version, "{name}"),
    ):
        before, _, after = layout.partition(slot)
        for text in texts:
            yield _shape(parse(text), before, after)


def _given(ruleset: RuleSet) -> Iterator[_Given]:
    for rule in ruleset.rules:
        cache = ruleset.caches[rule.cache]
        layouts: dict[Kind, list[str]] = {
            "keys": [cache.prefix + "{}"],
            "patterns": [cache.prefix + "{}"],
            "tags": [each.key.replace("{tag}", "{}") for each in cache.layouts],
            "versions": [cache.version.replace("{name}", "{}")],
        }
        for effect in (*rule.effects, *rule.on_reject) if rule.enabled else ():
            around = (layout.partition("{}") for layout in layouts[effect.kind])
            glob = effect.kind == "patterns"
            shapes = (
                _shape(effect.template, before, after, glob=glob) for before, _, after in around
            )
            yield _Given(effect, tuple(shapes))


def _shape(template: Template, before: str, after: str = "", *, glob: bool = False) -> Shape:
    inner = globs.of_template(template, before, glob=glob, slot=globs.WORD)
    return [*inner, *(("=", char) for char in after)]


def _meet(shape: Shape, given: _Given) -> bool:
    return any(globs.meet(shape, each) for each in given.shapes)


def _unreached(one: Declared, given: Sequence[_Given]) -> Problem:
    text = one.prefix + one.key
    said = f"no rule reaches {text}: what {one.function} caches stays until it expires"
    stamps = {tag for tag in one.tags if any(_same_tag(tag, each.effect) for each in given)}
    if stamps:
        said += f"; a rule names its tag {min(stamps)}, and its cache lacks {{layout: stamp}}"
    return problem(Place(one.file, one.line, 1), said, text)


def _same_tag(tag: str, effect: Effect) -> bool:
    return effect.kind == "tags" and globs.meet(_shape(parse(tag), ""), _shape(effect.template, ""))


def _unrendered(given: _Given) -> Problem:
    effect = given.effect
    said = f"no cached function has {effect.kind} of this form"
    return problem(effect.place, said, effect.template.text)
