"""Habits of other languages in rules: what is written there, and what it must be here."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from invalidator.rules.condition.tree import Binary, ListOf, Node, Root, Select, children, label
from invalidator.rules.rule import Cache, Effect, Rule
from invalidator.templates import Template

_NAME: Final = r"[A-Za-z_][\w.]*"
_DOUBLED: Final = re.compile(rf"(?<!\{{)\{{\{{(?: *\.({_NAME}) *| +({_NAME}) *|({_NAME}) +)\}}\}}")
_SHELL: Final = re.compile(rf"\$({_NAME})")
_FORMAT: Final = re.compile(r"%(?:\((\w+)\)[sd]|[sd](?![0-9A-Fa-f]))")


def mistake(template: Template) -> str:
    """Return why a template cannot be meant: it has no field, and something that looks like one."""
    found = _DOUBLED.search(template.text)
    return _doubled(found) if found and not template.slots() else ""


def of_effect(effect: Effect, cache: Cache) -> Iterator[str]:
    """Yield what is probably a field, or what the cache adds itself."""
    template = effect.template
    yield from _fields(template)
    name, begins = "", ""
    if effect.kind == "tags":
        keys = [kept.key for kept in cache.layouts]
        name, begins = _begins(template, keys, "{tag}")
    elif effect.kind == "versions":
        name, begins = _begins(template, [cache.version], "{name}")
    if begins:
        rest = template.text.removeprefix(begins)
        yield f"{begins} is added automatically, since the cache has {name}: write {rest}"


def _fields(template: Template) -> Iterator[str]:
    for found in _DOUBLED.finditer(template.text):
        yield _doubled(found)
    for path in template.paths():
        if path.root == "data" and path.steps[:1] == ("$",):
            name = path.text.removeprefix("$").removeprefix(".")
            yield f"{{{path.text}}} reads a field called $; the path alone is enough: {{{name}}}"
    for text in (part for part in template.parts if isinstance(part, str)):
        for found in _SHELL.finditer(text):
            yield f"{found[0]} is text; a field is written in braces: {{{found[1]}}}"
        for found in _FORMAT.finditer(text):
            name = found[1] or "id"
            yield f"{found[0]} is text; name the field, in braces: {{{name}}}"


def _doubled(found: "re.Match[str]") -> str:
    name = found[1] or found[2] or found[3]
    return f"{found[0]} is text with a brace around it; a field is written {{{name}}}"


def _begins(template: Template, keys: Iterable[str], slot: str) -> tuple[str, str]:
    for key in keys:
        begins = key.partition(slot)[0]
        if begins and template.text.startswith(begins):
            return key, begins
    return "", ""


def of_condition(rule: Rule, events: Sequence[Any]) -> Iterator[str]:
    """Yield words that are compared like texts and read as fields that nothing else knows.

    `events` are those of the tests.
    """
    if rule.when is None:
        return
    known = {str(path.steps[0]) for e in rule.effects for path in e.template.paths() if path.steps}
    known |= {str(name) for event in events for name in _names(event)}
    words = list(_words(rule.when.tree))
    fields = [word for node in _nodes(rule.when.tree) if (word := _word(node))]
    for left, word in words:
        related = word.lower() in left.lower() or left.lower() in word.lower()
        if word not in known and not related and fields.count(word) == 1:
            yield f'when: {word} is a field of the event; a text is written in quotes: "{word}"'


def _words(tree: Node) -> Iterator[tuple[str, str]]:
    """Yield what is compared, and the bare word that it is compared with."""
    for node in _nodes(tree):
        if isinstance(node, Binary) and node.operator in ("==", "!=", "in"):
            items = node.right.items if isinstance(node.right, ListOf) else (node.right,)
            for item in items if node.operator != "in" or isinstance(node.right, ListOf) else ():
                if (word := _word(item)) and (left := label(node.left)):
                    yield left, word


def _word(node: Node) -> str:
    if isinstance(node, Select) and isinstance(node.of, Root) and node.of.name == "data":
        return node.name
    return ""


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _nodes(child)


def _names(event: Any) -> Iterator[str]:
    """Yield the names of all fields of an event."""
    if isinstance(event, dict):
        for name, value in event.items():
            yield name
            yield from _names(value)
    elif isinstance(event, list):
        for value in event:
            yield from _names(value)
