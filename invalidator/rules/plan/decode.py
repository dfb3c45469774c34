"""Events decoded no further than the rules look: of most events that is a third of the time.

The fields that rules read are known once they are compiled. All others are checked and passed over
without becoming objects, so a generated function finds what it asks for and nothing else. Where the
fields cannot be told (a condition over all of `data`, the extensions of an event), or are too many
to gain anything, events are decoded whole. The careful path always sees the whole event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypedDict

import msgspec
from msgspec import Struct

from invalidator.rules.condition import reads
from invalidator.rules.envelope import Envelope, decode_json
from invalidator.rules.rule import Rule

Decode = Callable[[bytes], Any]
# A root and a first step; None for a step that is decided by the event, or for none at all.
Look = tuple[str, str | None]

MOST: Final = 48  # fields of one object: they are searched one after the other
AROUND: Final = ("id", "time", "subject", "source")  # what `event.` reads of the event itself


class Decoders(Struct, frozen=True):
    """How the events of one engine are decoded."""

    plain: Decode
    change: Decode
    apart: Decode | None = None  # as `plain`, of `kind` and `data` alone; None: rules look around


def decoders_for(rules: Iterable[Rule], envelope: Envelope) -> Decoders:
    """Decoders of what these rules can look at."""
    looks = [look for rule in rules for look in _looks(rule)]
    fields = _fields(looks)
    if fields is None or len(fields) > MOST:
        return Decoders(decode_json, decode_json)
    first = envelope.first or "type"
    return Decoders(
        msgspec.json.Decoder(_plain(fields, first, envelope.inner)).decode,
        msgspec.json.Decoder(_change(fields, first)).decode,
        _apart(fields, first, envelope) if all(root == "data" for root, _ in looks) else None,
    )


def _fields(looks: Iterable[Look]) -> Sequence[str] | None:
    """The first steps of everything that is read; None: it may be anything."""
    found: dict[str, None] = {}
    for root, step in looks:
        if step is None or (root == "event" and step not in AROUND):
            return None
        found[step] = None
        if root in ("before", "after"):
            found[root] = None
    return [*found]


def _looks(rule: Rule) -> Iterator[Look]:
    """What a rule reads of a record's value, beside the type."""
    for root, step in _reads(rule):
        elsewhere = root in ("match", "headers") or (root == "event" and step in ("type", "key"))
        if not elsewhere:
            yield root, step


def _reads(rule: Rule) -> Iterator[Look]:
    for effect in rule.effects:
        for path in effect.template.paths():
            first = path.steps[0] if path.steps else None
            yield path.root, first if isinstance(first, str) else None
    for read in reads(rule.when.tree) if rule.when else ():
        yield read.root, read.path[0] if read.path and read.path[0] != "[]" else None


def _plain(fields: Sequence[str], first: str, inner: str) -> object:
    """An event with its type in one field, and its data in another or all around."""
    here = dict.fromkeys(fields, Any)
    return _object({**here, "specversion": Any, first: Any, inner: _either(_object(here))})


def _apart(fields: Sequence[str], first: str, envelope: Envelope) -> Decode | None:
    """An event of two fields, which need no dict around them."""
    names = {"kind": first, "data": envelope.inner, "specversion": "specversion"}
    if len(set(names.values())) < len(names):
        return None
    parts: list[Any] = [("kind", str), ("data", _object(dict.fromkeys(fields, Any)))]
    if envelope.is_mixed:
        parts.append(("specversion", msgspec.UnsetType, msgspec.UNSET))  # must not be there
    apart = msgspec.defstruct("Apart", parts, rename=names, gc=False)
    return msgspec.json.Decoder(apart).decode


def _change(fields: Sequence[str], first: str) -> object:
    """A change event, in its schema or without: what tells it from others, and its rows."""
    here = dict.fromkeys(fields, Any)
    row, source = _either(_object(here)), _either(_object({"table": Any}))
    told = {first: Any, "type": Any, "op": Any}
    body = {**here, **told, "before": row, "after": row, "source": source}
    return _object({**body, "schema": msgspec.Raw, "payload": _either(_object(body))})


def _object(fields: dict[str, Any]) -> Any:
    return TypedDict("Fields", fields, total=False)  # type: ignore[operator]


def _either(fields: Any) -> Any:
    """An object; or whatever else may stand there, as it is."""
    return fields | list | str | int | float | bool | None
