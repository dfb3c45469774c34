"""Strategies for what a stranger may send, and the most that each may delete."""

import json
from dataclasses import dataclass

from hypothesis import strategies as st

TYPES = ("order.updated", "list.changed", "group.changed", "version.raised", "header.told")
# Written by hand: each once broke something like this, somewhere.
NASTY = (
    "*",
    "?",
    "can*",
    "canary*",
    "[a-z]*",
    "canar[y]",
    "canar?",
    "\\",
    "canary\\",
    "*\\*",
    "canary:*",
    "../canary",
    "x\r\nDEL canary\r\n",
    "x\x00canary",
    "{canary}",
    "{0.__class__}",
    "%s%n",
    "${canary}",
    "canary\n",
    "\x7f",
    "\u2028",
    "\ud800",
    "\udfff\ud800",
    "\ufeffcanary",
    "é",
    "e\u0301",
    "\U0001f4a5" * 300,
    "a" * 1_025,
    "",
    " ",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """An event, and the one key that it may delete, where that is known."""

    raw: bytes
    key: str | None = None


def scalars() -> st.SearchStrategy[object]:
    return (
        st.sampled_from(NASTY)
        | st.text(max_size=40)
        | st.integers()
        | st.integers(min_value=-(2**70), max_value=2**70)
        | st.floats()
        | st.booleans()
        | st.none()
    )


def documents() -> st.SearchStrategy[object]:
    return st.recursive(
        scalars(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=12,
    )


def samples() -> st.SearchStrategy[Sample]:
    return st.one_of(
        st.binary(max_size=200).map(Sample),
        documents().map(lambda found: Sample(_dump(found))),
        st.builds(_event, st.sampled_from(TYPES), scalars() | documents()),
        st.builds(_beside_a_huge_number, st.sampled_from(TYPES), scalars() | documents()),
        st.builds(_orders, scalars()),
        st.builds(_twice, st.text("ab", min_size=1), st.text("ab", min_size=1)),
        st.builds(_cut, scalars(), st.integers(1, 30)),
        st.builds(_corrupted, scalars(), st.binary(min_size=1, max_size=6)),
    )


def fields() -> st.SearchStrategy[dict[bytes, bytes]]:
    """Return fields of a stream's entry: names with a meaning, and any others."""
    names = st.sampled_from([b"event", b"data", b"type", b"id", b"key"]) | st.binary(max_size=10)
    types = st.sampled_from([kind.encode() for kind in TYPES])
    values = types | st.binary(max_size=40) | scalars().map(_dump)
    return st.dictionaries(names, values, min_size=1, max_size=4)


def headers() -> st.SearchStrategy[dict[str, bytes | None]]:
    """Return headers of a record: those of CloudEvents, those that the rules read, any others."""
    known = ("tenant", "ce_specversion", "ce_type", "ce_id", "ce_datacontenttype", "content-type")
    names = st.sampled_from(known) | st.text(st.characters(codec="utf-8"), max_size=10)
    return st.dictionaries(names, st.none() | st.binary(max_size=40), max_size=8)


def _dump(found: object) -> bytes:
    """Return JSON as Python writes it: with NaN, lone surrogates and endless integers."""
    return json.dumps(found).encode()


def _event(kind: str, identity: object) -> Sample:
    return Sample(_dump({"type": kind, "data": {"id": identity}}))


def _beside_a_huge_number(kind: str, identity: object) -> Sample:
    """Return an event that takes the slow path, which must be as strict."""
    raw = _dump({"type": kind, "data": {"id": identity}, "identity": identity})
    return Sample(raw[:-1] + b', "huge": 1e400}')


def _orders(identity: object) -> Sample:
    """Return an event of the only type that names one key; a bool is an int to Python."""
    raw = _dump({"type": "order.updated", "data": {"id": identity}})
    if isinstance(identity, str) and identity.isascii() and identity.isalnum() and _fits(identity):
        return Sample(raw, f"order:{identity}")
    if isinstance(identity, int) and not isinstance(identity, bool) and abs(identity) < 2**63:
        return Sample(raw, f"order:{identity}")
    return Sample(raw)


def _fits(identity: str) -> bool:
    """Return whether its key is short enough: over 1,024 characters it is rejected."""
    return len(identity) < 1_000


def _twice(first: str, last: str) -> Sample:
    """Return an event with a field that occurs twice: the last one counts."""
    raw = f'{{"type": "order.updated", "data": {{"id": "{first}x", "id": "{last}"}}}}'
    return Sample(raw.encode(), f"order:{last}")


def _cut(identity: object, end: int) -> Sample:
    return Sample(_dump({"type": "order.updated", "data": {"id": identity}})[:-end])


def _corrupted(identity: object, garbage: bytes) -> Sample:
    """Return JSON with bytes amid it that are no UTF-8, or end the text too early."""
    raw = _dump({"type": "order.updated", "data": {"id": identity}})
    return Sample(raw[:-4] + garbage + raw[-4:])
