"""Rules for topics, channels or streams that nobody reads (`source`)."""

import re
from collections.abc import Iterable, Iterator, Sequence

from invalidator.rules import globs
from invalidator.rules.rule import Rule
from invalidator.runtime.text import nearest, visible


def unread(rules: Iterable[Rule], origins: Sequence[str]) -> Iterator[tuple[Rule, str]]:
    """The rules that no event can reach, each with why.

    `origins` are what is read, as the settings say it: names, globs, and expressions behind a ^.
    """
    for rule in rules if origins else ():
        if rule.enabled and rule.sources and not _read(rule.sources, origins):
            wanted = ", ".join(map(visible, rule.sources))
            hint = nearest(rule.sources[0], origins)
            yield rule, f"it is for {wanted} only, from where nothing is read here{hint}"


def _read(sources: Iterable[str], origins: Sequence[str]) -> bool:
    return any(_meet(source, origin) for source in sources for origin in origins)


def _meet(source: str, origin: str) -> bool:
    if origin.startswith("^"):
        return "*" in source or re.match(origin, source) is not None
    return source == origin or globs.meet(globs.tokens(source), globs.tokens(origin))
