"""What no sweep ever deletes."""

import re
from collections.abc import Iterable

from invalidator import layout
from invalidator.errors import ConfigError
from invalidator.targets.redis.glob import escape
from invalidator.targets.redis.patterns import Matcher

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


def protected(templates: Iterable[str], patterns: Iterable[str]) -> Matcher:
    """What we keep ourselves, what these templates may name (tags, versions), and what matches."""
    own = escape(layout.OWN.encode()) + b"*"
    every = [own, *map(_pattern, templates), *(pattern.encode() for pattern in patterns)]
    if not all(pattern.strip(b"*") for pattern in every):
        raise ConfigError("a protected pattern that is only `*` would stop every sweep")
    return Matcher(every)


def _pattern(template: str) -> bytes:
    """`tag:{tag}` names whatever matches `tag:*`."""
    return b"*".join(escape(text.encode()) for text in _PLACEHOLDER.split(template))
