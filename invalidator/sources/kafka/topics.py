"""Which topics are ours: names, and patterns that new topics may match at any time."""

import re
from collections.abc import Collection, Iterable


class Wanted:
    """What the settings ask for. A pattern is a regular expression that begins with `^`."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = list(entries)
        self.names = [entry for entry in entries if not entry.startswith("^")]
        self._patterns = [re.compile(entry) for entry in entries if entry.startswith("^")]

    @property
    def may_grow(self) -> bool:
        return bool(self._patterns)

    def wants(self, topic: str) -> bool:
        """Kafka's own topics, and those that other tools hide in the same way, match no pattern."""
        if topic in self.names:
            return True
        return not topic.startswith("__") and any(p.match(topic) for p in self._patterns)

    def choose(self, existing: Collection[str]) -> list[str]:
        return sorted(filter(self.wants, existing))

    def missing(self, existing: Collection[str]) -> str:
        """What a person should know about what is not there; empty while everything is."""
        absent = [name for name in self.names if name not in existing]
        absent += [p.pattern for p in self._patterns if not self.choose(existing)]
        return f"there is no topic named {', '.join(map(repr, absent))}" if absent else ""
