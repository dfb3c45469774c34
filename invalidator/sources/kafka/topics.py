"""Chooses our topics: by names, and by patterns that new topics may match at any time."""

import re
from collections.abc import Collection, Iterable


class Wanted:
    """The topics of the settings. A pattern is a regular expression that begins with `^`."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = list(entries)
        self.names = [entry for entry in entries if not entry.startswith("^")]
        self._patterns = [re.compile(entry) for entry in entries if entry.startswith("^")]

    @property
    def may_grow(self) -> bool:
        return bool(self._patterns)

    def wants(self, topic: str) -> bool:
        """Tell whether a topic is ours. No pattern matches names that begin with `__`."""
        if topic in self.names:
            return True
        return not topic.startswith("__") and any(p.match(topic) for p in self._patterns)

    def choose(self, existing: Collection[str]) -> list[str]:
        return sorted(filter(self.wants, existing))

    def missing(self, existing: Collection[str]) -> str:
        """Return which topics do not exist, as a sentence; empty if all do."""
        absent = [name for name in self.names if name not in existing]
        absent += [p.pattern for p in self._patterns if not self.choose(existing)]
        return f"there is no topic named {', '.join(map(repr, absent))}" if absent else ""
