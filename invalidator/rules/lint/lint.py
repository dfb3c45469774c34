"""`check`: every mistake of the rules, and what their author may have meant otherwise."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path as FilePath
from typing import Final, Literal

from msgspec import Struct

from invalidator.errors import Problem, RulesError
from invalidator.rules import globs
from invalidator.rules.file.load import load
from invalidator.rules.lint.delays import outlasting
from invalidator.rules.lint.meant import meant_otherwise
from invalidator.rules.lint.unread import unread
from invalidator.rules.plan.event_types import Pattern, is_wild
from invalidator.rules.rule import Effect, Place, Rule
from invalidator.rules.ruleset import RuleSet
from invalidator.templates import Path, Slot, Template

Severity = Literal["error", "warning", "note"]


class Finding(Struct, frozen=True):
    severity: Severity
    problem: Problem


class Checked(Struct, frozen=True):
    findings: tuple[Finding, ...]
    ruleset: RuleSet | None  # None: the rules cannot be used

    @property
    def good(self) -> bool:
        return self.ruleset is not None


MOST_TWINS: Final = 50  # rules with one and the same template that are compared


def check(path: FilePath, *, drain: float | None = None, origins: Sequence[str] = ()) -> Checked:
    """All that can be said of the rules without running them.

    Where that is known: `drain` is how long a shutdown may take, `origins` what is read.
    """
    try:
        ruleset = load(path)
    except RulesError as error:
        return Checked(tuple(Finding("error", problem) for problem in error.problems), None)
    warnings = [
        *_duplicates(ruleset),
        *_covered(ruleset),
        *_better_by_tag(ruleset),
        *meant_otherwise(ruleset),
        *(found for rule in ruleset.rules for found in _rows_not_there(rule)),
    ]
    findings = [Finding("warning", problem) for problem in warnings]
    notes = [*_slots(ruleset), *(() if drain is None else _outlasting(ruleset, drain))]
    notes += [
        _problem(rule.place, said, rule.name) for rule, said in unread(ruleset.rules, origins)
    ]
    findings += [Finding("note", problem) for problem in notes]
    findings.sort(key=lambda entry: (entry.problem.file, entry.problem.line, entry.problem.column))
    return Checked(tuple(findings), ruleset)


def _problem(place: Place, message: str, text: str) -> Problem:
    return Problem(place.file, place.line, place.column, message, text)


def _duplicates(ruleset: RuleSet) -> Iterator[Problem]:
    """The same name twice for the same event."""
    owners: dict[tuple[str, str, str], list[tuple[Rule, Effect]]] = {}
    for rule in ruleset.rules:
        for effect in rule.effects:
            owners.setdefault((rule.cache, effect.kind, effect.template.text), []).append(
                (rule, effect)
            )
    for same in owners.values():
        for (first, _), (rule, effect) in combinations(same[:MOST_TWINS], 2):
            if rule is first:
                yield _problem(effect.place, "this stands twice in the rule", effect.template.text)
            elif _overlap(first, rule):
                said = f"the rule {first.name} gives this name for the same events"
                yield _problem(effect.place, said, effect.template.text)


def _overlap(one: Rule, other: Rule) -> bool:
    """Whether an event could match both rules."""
    if one.when or other.when or one.sources != other.sources:
        return False
    return any(globs.meet(_types(a), _types(b)) for a in one.on for b in other.on)


def _types(pattern: Pattern) -> list[globs.Token]:
    made: list[globs.Token] = []
    for token in pattern.tokens:
        if is_wild(token):
            made.append((globs.ANY, ""))
        else:
            made.extend(("=", char) for char in token)
    return made


def _covered(ruleset: RuleSet) -> Iterator[Problem]:
    """Keys that a pattern of the same rule deletes anyway."""
    for rule in ruleset.rules:
        patterns = [effect.template for effect in rule.effects if effect.kind == "patterns"]
        for effect in rule.effects:
            if effect.kind not in ("keys", "patterns"):
                continue
            for pattern in patterns:
                if pattern is not effect.template and covers(pattern, effect):
                    said = f"the pattern {pattern.text} covers this"
                    yield _problem(effect.place, said, effect.template.text)
                    break


def covers(pattern: Template, effect: Effect) -> bool:
    """Whether every name of a template matches a pattern, whatever the values are."""
    names = _atoms(effect.template, glob=effect.kind == "patterns")
    return _covers(_atoms(pattern, glob=True), names)


def _atoms(template: Template, *, glob: bool) -> list[globs.Token]:
    """Tokens, in which a slot is one of its own kind: it equals only itself."""
    made: list[globs.Token] = []
    for part in template.parts:
        if isinstance(part, Slot):
            made.append(("slot", part.text))
        elif glob:
            made.extend(globs.tokens(part))
        else:
            made.extend(("=", char) for char in part)
    return made


def _covers(pattern: list[globs.Token], other: list[globs.Token]) -> bool:
    reached = {0}  # how much of `other` may be matched so far
    for token in pattern:
        if token[0] == globs.ANY:
            reached = set(range(min(reached), len(other) + 1)) if reached else reached
        else:
            reached = {
                at + 1
                for at in reached
                if at < len(other)
                and (other[at] == token or (token[0] == globs.ONE and other[at][0] == "="))
            }
        if not reached:
            return False
    return len(other) in reached


def _better_by_tag(ruleset: RuleSet) -> Iterator[Problem]:
    """A sweep walks the whole keyspace; where a cache keeps tags, one of them could do."""
    for rule in ruleset.rules:
        if not ruleset.caches[rule.cache].tagged:
            continue
        for effect in rule.effects:
            slots = effect.template.slots()
            if effect.kind == "patterns" and len(slots) == 1 and _ends_open(effect.template):
                said = (
                    "a pattern makes a sweep walk every key of the Redis; this cache keeps tags, "
                    "and one on these entries, such as "
                    f"{_tag_for(effect.template)}, would be found at once"
                )
                yield _problem(effect.place, said, effect.template.text)


def _ends_open(template: Template) -> bool:
    last = template.parts[-1] if template.parts else ""
    return isinstance(last, str) and last.endswith("*")


def _tag_for(template: Template) -> str:
    """The pattern up to its value: `orders:list:{customerId}:*` as `orders:list:{customerId}`."""
    texts = [part if isinstance(part, str) else part.text for part in template.parts]
    return "".join(texts).rstrip("*").rstrip(":./-")


def _rows_not_there(rule: Rule) -> Iterator[Problem]:
    """A created row has no old one, a deleted row no new one: there the rule is rejected."""
    ends = {pattern.tokens[-1].lstrip(".:") for pattern in rule.on}
    wild = any(is_wild(pattern.tokens[-1]) for pattern in rule.on)
    for effect in rule.effects:
        for slot in effect.template.slots():
            path = slot.source
            if not isinstance(path, Path) or slot.optional or slot.default is not None:
                continue
            verb = {"before": "created", "after": "deleted"}.get(path.root)
            if verb and (wild or verb in ends):
                said = f"a {verb} row has none {path.root} it, and would be rejected: write "
                said += f"{{{path.text}?}}, or other types in on:"
                yield _problem(effect.place, said, effect.template.text)


def _outlasting(ruleset: RuleSet, drain: float) -> Iterator[Problem]:
    for rule, said in outlasting(ruleset.rules, drain):
        yield _problem(rule.place, said, rule.name)


def _slots(ruleset: RuleSet) -> Iterator[Problem]:
    """Where literal braces decide the slot in a Redis Cluster."""
    for rule in ruleset.rules:
        for effect in rule.effects:
            tag = hash_tag(effect.template) if effect.kind == "keys" else ""
            if tag:
                said = f"in a Redis Cluster the slot is that of {tag}"
                if tag.isidentifier():
                    said += f"; this is the text {{{tag}}}, and the field is {{{tag}}} in single "
                    said += f"braces, or {{{{{{{tag}}}}}}} with a brace around its value"
                yield _problem(effect.place, said, effect.template.text)


def hash_tag(template: Template) -> str:
    """What stands between a template's first literal { and the next }: slots stay as written."""
    found, inside = "", False
    for part in template.parts:
        if isinstance(part, Slot):
            found += part.text if inside else ""
            continue
        for char in part:
            if not inside:
                inside = char == "{"
            elif char == "}":
                return found
            else:
                found += char
    return ""
