"""A rules file as frozen data."""

from dataclasses import dataclass

from invalidator.model import DEFAULT_CACHE, Kind
from invalidator.rules.matching import Pattern
from invalidator.rules.template import Template

MAX_KEYS = 10_000  # names that one event and rule may render, unless the rule says otherwise


@dataclass(frozen=True, slots=True)
class Effect:
    """One name that a rule makes a cache forget."""

    kind: Kind
    template: Template


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    on: tuple[Pattern, ...]
    effects: tuple[Effect, ...]
    file: str
    line: int
    cache: str = DEFAULT_CACHE
    max_keys: int = MAX_KEYS
    enabled: bool = True
    description: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """Where the names of one cache live."""

    name: str = DEFAULT_CACHE
    prefix: str = ""  # before keys and patterns
