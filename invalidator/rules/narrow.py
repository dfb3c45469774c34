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

from invalidator.envelope import AUTO, Envelope, decode_json
from invalidator.rules.condition import reads
from invalidator.rules.schema import Rule

Decode = Callable[[bytes], Any]

MOST: Final = 48  # fields of one object: they are searched one after the other
AROUND: Final = ("id", "time", "subject", "source")  # what `event.` reads of the event itself


class Narrow(Struct, frozen=True):
    """How the events of one engine are decoded."""

    plain: Decode
    change: Decode


def narrowed(rules: Iterable[Rule], envelope: Envelope) -> Narrow:
    """Decoders of what these rules can look at."""
    fields = _fields(rules)
    if fields is None or len(fields) > MOST:
        return Narrow(decode_json, decode_json)
    inner = "data" if envelope.data == AUTO else envelope.data
    plain = msgspec.json.Decoder(_plain(fields, envelope.first or "type", inner))
    return Narrow(plain.decode, msgspec.json.Decoder(_change(fields)).decode)


def _fields(rules: Iterable[Rule]) -> Sequence[str] | None:
    """The first steps of everything that these rules read; None: they may read anything."""
    found: dict[str, None] = {}
    for rule in rules:
        for root, step in _looks(rule):
            if root in ("match", "headers") or (root == "event" and step in ("type", "key")):
                continue  # not in the record's value
            if step is None or (root == "event" and step not in AROUND):
                return None
            found[step] = None
            if root in ("before", "after"):
                found[root] = None
    return [*found]


def _looks(rule: Rule) -> Iterator[tuple[str, str | None]]:
    """Roots and first steps; None for a step that is decided by the event, or for none at all."""
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


def _change(fields: Sequence[str]) -> object:
    """A change event, in its schema or without: what tells it from others, and its rows."""
    here = dict.fromkeys(fields, Any)
    row, source = _either(_object(here)), _either(_object({"table": Any}))
    body = {**here, "type": Any, "op": Any, "before": row, "after": row, "source": source}
    return _object({**body, "schema": msgspec.Raw, "payload": _either(_object(body))})


def _object(fields: dict[str, Any]) -> Any:
    return TypedDict("Narrow", fields, total=False)  # type: ignore[operator]


def _either(narrow: Any) -> Any:
    """An object; or whatever else may stand there, as it is."""
    return narrow | list | str | int | float | bool | None
