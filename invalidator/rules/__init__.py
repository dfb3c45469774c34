"""Declarative rules: read, checked, compiled, explained."""

from invalidator.rules.explain import Explanation, Verdict, Yield
from invalidator.rules.loader import load
from invalidator.rules.ruleset import RuleSet
from invalidator.rules.schema import Cache, Effect, Layout, Rule, Test

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
