"""Say of a field that an event lacks: which fields it has, which is near, and where it lies."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from invalidator.rules.envelope import Reading
from invalidator.runtime.text import closest, visible
from invalidator.templates import Step
from invalidator.templates.language import EVENT
from invalidator.templates.values import joined

SHOWN: Final = 8  # fields
LONGEST: Final = 40  # characters of a name
LOOKED_AT: Final = 300  # values, when a field is looked for elsewhere
_NAME: Final = re.compile(r"[A-Za-z_$][\w$-]*")
_BETWEEN: Final = re.compile(r"[-_.]")


def hint(root: str, steps: Sequence[Step], reading: Reading) -> str:
    """Return what to write instead of a path that leads nowhere; empty if nothing can be said."""
    value: Any = reading.data if root == "data" else reading.event if root == "root" else None
    walked = "" if root == "data" else root
    for step in steps:
        if isinstance(value, dict) and step not in value:
            return _hint(value, walked, str(step), reading)
        try:
            value = value[step]
        except (TypeError, LookupError):
            return ""
        walked = joined(walked, step)
    return ""


def _hint(holder: dict[str, Any], walked: str, name: str, reading: Reading) -> str:
    few = [visible(field, LONGEST) for field in list(holder)[:SHOWN]]
    more = ", …" if len(holder) > SHOWN else ""
    said = f"it has {', '.join(few)}{more}" if few else "it is empty"
    if near := _near(name, holder):
        return f"{said}; did you mean {{{joined(walked, near)}}}?"
    for path in _elsewhere(name, reading):
        around = path.rpartition(".")[0]
        outer = reading.data is reading.event and "." not in around
        envelope = f", or envelope: {{data: {around}}}" if outer and not walked else ""
        return f"{said}; {path} is there: write {{{path}}}{envelope}"
    return said


def _near(name: str, fields: dict[str, Any]) -> str:
    """Return the field that differs in its case or separators only, or is written similarly."""
    plain = _plain(name)
    same = next((field for field in fields if _plain(field) == plain), "")
    near = same or closest(name, fields, cutoff=0.75)
    return near if _NAME.fullmatch(near) else ""


def _plain(name: str) -> str:
    return _BETWEEN.sub("", name).lower()


def _elsewhere(name: str, reading: Reading) -> Iterator[str]:
    """Yield paths that end in this field, the shortest first: in the data, then around it."""
    yield from _paths(reading.data, "", name)
    around = reading.event if reading.event is not reading.data else {}
    if name in around and name not in EVENT:  # an event's own id is not the one that is missed
        yield f"root.{name}"


def _paths(data: dict[str, Any], walked: str, name: str) -> Iterator[str]:
    plain, left = _plain(name), LOOKED_AT
    waiting: deque[tuple[dict[str, Any], str]] = deque([(data, walked)])
    while waiting:
        value, path = waiting.popleft()
        for field, inner in value.items():
            left -= 1
            if left < 0:
                return
            if not _NAME.fullmatch(field):
                continue
            if path and _plain(field) == plain and not isinstance(inner, dict | list):
                yield joined(path, field)
            if isinstance(inner, dict):
                waiting.append((inner, joined(path, field)))
