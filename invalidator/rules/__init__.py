"""Declarative rules: read, checked, compiled, explained."""

from invalidator.rules.loader import load
from invalidator.rules.ruleset import Explanation, RuleSet, Verdict, Yield
from invalidator.rules.schema import Cache, Effect, Rule

__all__ = ["Cache", "Effect", "Explanation", "Rule", "RuleSet", "Verdict", "Yield", "load"]
