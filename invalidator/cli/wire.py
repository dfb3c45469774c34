"""Build the event that `publish` sends, by the envelope that the rules read it by."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
from msgspec import Struct

from invalidator.cli.common import UsageError
from invalidator.rules.envelope import Envelope
from invalidator.rules.envelope.reading import AUTO, steps_of

_SLOT = re.compile(r"\{([^{}]*)\}")
_HEADER = "headers"


class Wire(Struct):
    """One event as it is sent."""

    type: str
    body: bytes
    id: str = ""
    headers: Sequence[tuple[str, str]] = ()


def raw(text: bytes) -> Wire:
    """Return a whole event as somebody wrote it."""
    event = _parsed(text, "the event")
    found = event.get("type") if isinstance(event, dict) else None
    return Wire(found if isinstance(found, str) else "an event", text.strip())


def built(kind: str, data: bytes, envelope: Envelope, *, headers: bool) -> Wire:
    """Return an event of this type with this data; `headers` tells whether it may have some."""
    if not isinstance(_parsed(data, "the data"), dict):
        shown = data.decode().strip()[:60]
        raise UsageError(f'the data is not a JSON object such as {{"id": 1}}: {shown}')
    content = orjson.Fragment(data)  # the text itself, since numbers may have any digits
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    around = {"id": str(uuid4()), "time": time}
    if envelope.format == "debezium":
        raise UsageError("the rules read change events of Debezium there: send one with --raw")
    if envelope.format == "cloudevents":
        event: Any = {"specversion": "1.0", "type": kind, "source": "invalidator", **around}
        return Wire(kind, orjson.dumps({**event, "data": content}), around["id"])
    event, said = None, []
    for path, value in _parts(kind, envelope.types[0]):
        first, *rest = steps_of(path)
        if first != _HEADER:
            event = _placed(event, (first, *rest), value)
        elif headers:
            said.append((".".join(map(str, rest)), value))
        else:
            raise UsageError(
                f"the rules read the type from {path}, and a message over pub/sub has no headers"
            )
    event = _placed(event, steps_of("data" if envelope.data == AUTO else envelope.data), content)
    if isinstance(event, dict):
        event = {**event, **{name: v for name, v in around.items() if name not in event}}
    return Wire(kind, orjson.dumps(event), around["id"] if isinstance(event, dict) else "", said)


def _parts(kind: str, text: str) -> list[tuple[str, str]]:
    """Return the fields that make up a type: `type`, or each of `{entity}.{action}`."""
    paths = _SLOT.findall(text)
    if not paths:
        return [(text, kind)]
    between = _SLOT.split(text)[::2]
    found = re.fullmatch("(.+?)".join(map(re.escape, between)), kind)
    if not found:
        raise UsageError(f"the rules read the type from {text}, which {kind} does not fit")
    return list(zip(paths, found.groups(), strict=True))


def _placed(into: Any, steps: Sequence[str | int], value: object) -> Any:
    """Return an object or list with a value at a path; what is on the way is made."""
    if not steps:
        return value
    first, *rest = steps
    made: Any
    if isinstance(first, int):
        made = list(into) if isinstance(into, list) else []
        made += [None] * (first + 1 - len(made))
        before = made[first]
    else:
        made = dict(into) if isinstance(into, dict) else {}
        before = made.get(first)
    made[first] = _placed(before, rest, value)
    return made


def _parsed(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        shown = text.decode(errors="replace")
        raise UsageError(
            f"{what} is not JSON: {_place(shown, error.msg, error.lineno, error.colno)}"
        ) from None


def _place(text: str, reason: str, line: int, column: int) -> str:
    found = text.splitlines()[line - 1] if text.strip() else ""
    start = max(0, column - 40)
    shown = found[start : column + 35]
    return f"{reason}, at line {line}, column {column}\n  {shown}\n  {' ' * (column - 1 - start)}^"
