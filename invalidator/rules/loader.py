"""Rules files into a rule set: every mistake at once, each with its place."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invalidator.errors import Problem, RulesError
from invalidator.model import DEFAULT_CACHE
from invalidator.rules import matching, template, yaml12
from invalidator.rules.matching import Pattern
from invalidator.rules.ruleset import RuleSet
from invalidator.rules.schema import Cache, Effect, Rule
from invalidator.rules.words import nearest
from invalidator.rules.yaml12 import Entry, Node, Report

SUFFIXES = (".yaml", ".yml")


def load(path: Path) -> RuleSet:
    """The rules of a file or a directory; a RulesError names everything that is wrong."""
    files = _files(path)
    rules: list[Rule] = []
    problems: list[Problem] = []
    digest = hashlib.sha256()
    for name, text in files:
        digest.update(f"{name}\0{len(text)}\0".encode() + text)
        report = Report(name)
        rules.extend(_File(report).rules(text))
        problems.extend(report.problems)
    problems.extend(_twins(rules))
    if problems:
        raise RulesError(problems)
    return RuleSet(rules, {DEFAULT_CACHE: Cache()}, digest.hexdigest()[:12])


def _files(path: Path) -> list[tuple[str, bytes]]:
    try:
        if not path.is_dir():
            return [(path.name, path.read_bytes())]
        found = sorted(
            entry
            for entry in path.iterdir()
            if entry.suffix in SUFFIXES and entry.is_file() and not entry.name.startswith(".")
        )
        files = [(entry.name, entry.read_bytes()) for entry in found]
    except OSError as error:
        said = f"cannot be read: {error.strerror or error}"
        raise RulesError([Problem(str(path), 0, 0, said)]) from error
    if not files:
        raise RulesError([Problem(str(path), 0, 0, "the directory has no .yaml file")])
    return files


def _twins(rules: list[Rule]) -> list[Problem]:
    first: dict[str, Rule] = {}
    problems = []
    for rule in rules:
        other = first.setdefault(rule.name, rule)
        if other is not rule:
            said = f"the name stands already at {other.file}:{other.line}; names are unique"
            problems.append(Problem(rule.file, rule.line, 1, said, rule.name))
    return problems


class _File:
    def __init__(self, report: Report) -> None:
        self.report = report

    def rules(self, text: bytes) -> list[Rule]:
        root = yaml12.read(text, self.report)
        if root is None:
            if not self.report.problems:
                self.report.at(1, 1, "the file is empty: expected version: 1 and rules:")
            return []
        fields = self._object(root, {"version", "rules"}, "the file")
        if fields is None:
            return []
        version = fields.get("version")
        if version and (type(version.value.value) is not int or version.value.value != 1):
            self.report.add(version.value, "expected version: 1")
        if "rules" not in fields:
            self.report.add(root, "rules: is missing")
            return []
        found = (self._rule(node) for node in self._list(fields["rules"].value, "rules"))
        return [rule for rule in found if rule]

    def _rule(self, node: Node) -> Rule | None:
        before = len(self.report.problems)
        fields = self._object(node, {"name", "on", "invalidate"}, "a rule")
        if fields is None:
            return None
        for name in ("name", "on", "invalidate"):
            if name not in fields:
                self.report.add(node, f"the rule has no {name}:")
        if len(self.report.problems) > before:
            return None
        called = self._text(fields["name"].value, "name")
        on = self._each(fields["on"].value, "on", matching.parse)
        effects = self._effects(fields["invalidate"].value)
        if len(self.report.problems) > before or called is None:
            return None
        return Rule(called, tuple(on), tuple(effects), self.report.file, node.line)

    def _effects(self, node: Node) -> list[Effect]:
        fields = self._object(node, {"keys"}, "invalidate")
        if not fields or "keys" not in fields:
            return []
        templates = self._each(fields["keys"].value, "keys", template.parse)
        return [Effect("keys", entry) for entry in templates]

    def _each(self, node: Node, what: str, parse: Callable[[str], Any]) -> list[Any]:
        """A text or a list of texts, each parsed."""
        nodes = node.value if isinstance(node.value, list) else [node]
        if not nodes:
            self.report.add(node, f"{what}: is empty")
        made = []
        for entry in nodes:
            text = self._text(entry, what)
            if text is None:
                continue
            try:
                made.append(parse(text))
            except (template.TemplateError, matching.PatternError) as error:
                self.report.add(entry, str(error), text, error.offset)
        return made

    def _text(self, node: Node, what: str) -> str | None:
        if isinstance(node.value, str) and node.value:
            return node.value
        self.report.add(node, f"{what}: expected text, found {node.kind()}")
        return None

    def _list(self, node: Node, what: str) -> list[Node]:
        if isinstance(node.value, list):
            return node.value
        self.report.add(node, f"{what}: expected a list, found {node.kind()}")
        return []

    def _object(self, node: Node, valid: set[str], what: str) -> dict[str, Entry] | None:
        if not isinstance(node.value, dict):
            self.report.add(node, f"{what}: expected an object, found {node.kind()}")
            return None
        for key, entry in node.value.items():
            if key not in valid:
                self.report.add(entry.key, f"{what} has no field {key}{nearest(key, valid)}")
        return node.value


__all__ = ["Pattern", "load"]
