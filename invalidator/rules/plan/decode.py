"""Decode only what the rules read of an event: for most events that takes a third of the time.

The fields that rules read are known once they are compiled. All others are checked and skipped
without becoming objects, so a generated function finds what it reads and nothing else. Where the
fields are not known (a condition over all of `data`, the extensions of an event), or are too many
to gain anything, events are decoded whole. The slow path always sees the whole event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypedDict

import msgspec
from msgspec import Struct

from invalidator.rules.condition import reads
from invalidator.rules.envelope import Envelope, decode_json
from invalidator.rules.rule import Rule

Decode = Callable[[bytes], Any]
# A root and a first step; None for a step that depends on the event, or if there is none.
Look = tuple[str, str | None]

MOST: Final = 48  # fields of one object: they are searched one by one
AROUND: Final = ("id", "time", "subject", "source")  # fields of `event.` that are the event's own

NARROWED: Final = ("data", "source", "schema", "payload", "op")  # decoded in part, or not at all


class Decoders(Struct, frozen=True):
    """The decoders for the events of one engine."""

    plain: Decode
    change: Decode
    apart: Decode | None = None  # as `plain`, of type and data alone; None: rules read more


def decoders_for(rules: Iterable[Rule], envelope: Envelope) -> Decoders:
    """Return decoders of what these rules can read."""
    looks = [look for rule in rules for look in _looks(rule)]
    fields = _fields(looks, envelope.inner)
    if fields is None or len(fields) > MOST:
        return Decoders(decode_json, decode_json)
    first = envelope.first or "type"
    return Decoders(
        msgspec.json.Decoder(_plain(fields, first, envelope.inner)).decode,
        msgspec.json.Decoder(_change(fields, first)).decode,
        _apart(fields, first, envelope) if all(root == "data" for root, _ in looks) else None,
    )


def _fields(looks: Iterable[Look], inner: str) -> Sequence[str] | None:
    """Return the first step of every path that is read; None if it may be any field."""
    found: dict[str, None] = {}
    for root, step in looks:
        if step is None or (root == "event" and step not in AROUND):
            return None
        if root == "root" and step in (inner, *NARROWED):
            return None
        found[step] = None
        if root in ("before", "after"):
            found[root] = None
    return [*found]


def _looks(rule: Rule) -> Iterator[Look]:
    """Yield what a rule reads of a record's value, apart from the type."""
    found: list[tuple[str, Sequence[object]]] = [
        (path.root, path.steps) for effect in rule.effects for path in effect.template.paths()
    ]
    found += [(read.root, read.path) for read in reads(rule.when.tree)] if rule.when else []
    for root, path in found:
        first = path[0] if path else None
        step = first if isinstance(first, str) and first != "[]" else None
        elsewhere = root in ("match", "headers") or (root == "event" and step in ("type", "key"))
        if not elsewhere:
            yield root, step


def _plain(fields: Sequence[str], first: str, inner: str) -> object:
    """Return the type of events with their data in one field, or all around."""
    here = dict.fromkeys(fields, Any)
    return _object({**here, "specversion": Any, first: Any, inner: _either(_object(here))})


def _apart(fields: Sequence[str], first: str, envelope: Envelope) -> Decode | None:
    """Return a decoder for events of two fields, which need no dict around them."""
    names = {"kind": first, "data": envelope.inner, "specversion": "specversion"}
    if len(set(names.values())) < len(names):
        return None
    parts: list[Any] = [("kind", str), ("data", _object(dict.fromkeys(fields, Any)))]
    if envelope.is_mixed:
        parts.append(("specversion", msgspec.UnsetType, msgspec.UNSET))  # must not be there
    apart = msgspec.defstruct("Apart", parts, rename=names, gc=False)
    return msgspec.json.Decoder(apart).decode


def _change(fields: Sequence[str], first: str) -> object:
    """Return the type of change events, with and without a schema: their marks and rows."""
    here = dict.fromkeys(fields, Any)
    row, source = _either(_object(here)), _either(_object({"table": Any}))
    told = {first: Any, "type": Any, "op": Any}
    body = {**here, **told, "before": row, "after": row, "source": source}
    return _object({**body, "schema": msgspec.Raw, "payload": _either(_object(body))})


def _object(fields: dict[str, Any]) -> Any:
    return TypedDict("Fields", fields, total=False)  # type: ignore[operator]


def _either(fields: Any) -> Any:
    """Return the type of such an object, or of any other value in its place."""
    return fields | list | str | int | float | bool | None
