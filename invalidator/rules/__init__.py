"""Declarative rules: read, checked, compiled, explained."""

from invalidator.rules.explain.explain import Explanation, Verdict, Yield
from invalidator.rules.file.load import load
from invalidator.rules.rule import Cache, Effect, Layout, Rule, Test
from invalidator.rules.ruleset import RuleSet

__all__ = [
    "Cache",
    "Effect",
    "Explanation",
    "Layout",
    "Rule",
    "RuleSet",
    "Test",
    "Verdict",
    "Yield",
    "load",
]
