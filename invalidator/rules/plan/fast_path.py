"""The hot path: plans events of one form after the other, each by the one function of its type.

An event for which anything is raised, or which has another form, takes the fallback, which says
exactly what is wrong, or which form the next events probably have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

from invalidator.model import Slice
from invalidator.rules.envelope import AUTO, OPENED, Envelope, WholeRows, may_be_large
from invalidator.rules.plan.compile import Apply
from invalidator.rules.plan.decode import Decode, Decoders
from invalidator.rules.plan.draft import Draft

Form = Literal["apart", "around", "change"]  # data in its own field; data all around; rows
Fallback = Callable[[Slice, int, int, Draft], Form | None]  # plans one event, by its index
Events = Iterator[tuple[int, bytes | None]]  # with their index in the slice
Way = Callable[[Events, Slice, int, Draft, bytes | None], Form | None]

TOGETHER: Final = 100  # events that are checked together; they stay in the processor's cache
FEW: Final = 4  # of those that may be large
LARGE: Final = 64 * 1024  # bytes of an event that is checked alone


class FastPath:
    """Plans slices; as long as events have one form, no other is tried."""

    def __init__(
        self,
        decoders: Decoders,
        envelope: Envelope,
        table: Mapping[str, Apply],
        updates: Mapping[str, Apply],
        fallback: Fallback,
    ) -> None:
        self.decoders = decoders
        self._first = envelope.first
        self._strict = envelope.data != AUTO or envelope.format == "cloudevents"
        self._inner = envelope.inner
        self._mixed = envelope.is_mixed
        self._rows = WholeRows(self._first or "type", envelope.old_rows)
        self._table = table
        self._updates = updates
        self.fallback = fallback
        self._ways: dict[Form, Way] = {
            "apart": self._apart if decoders.apart else self._around,
            "around": self._around,
            "change": self._change,
        }
        if self._first is None:
            only = self._change if envelope.format in (AUTO, "debezium") else self._slow
            self._ways = dict.fromkeys(self._ways, only)

    def plan(self, part: Slice, limit: int, draft: Draft, at: int = 0) -> int:
        """Plan events from this one until the draft is full; return where it stopped."""
        form: Form = "apart"
        while at < len(part.values) and draft.stopped is None:
            some = part.values[at : at + TOGETHER]
            text = joined_text(some, limit)
            if text is None:  # one may be large
                del some[FEW:]
            draft.following = some
            left, at = enumerate(some, at), at + len(some)
            while another := self._ways[form](left, part, limit, draft, text):
                form = another
            draft.planned(at - 1)
        return at if draft.stopped is None else draft.stopped

    def _apart(
        self, left: Events, part: Slice, limit: int, draft: Draft, text: bytes | None
    ) -> Form | None:
        """Plan events with type and data in two fields, where rules read no other."""
        assert self.decoders.apart
        loads = self.decoders.apart if text else _checked(self.decoders.apart, limit)
        table, sinks = self._table, draft.sinks
        for index, raw in left:
            try:
                event = loads(raw)  # type: ignore[arg-type]  # a tombstone raises, as it should
                kind = event.kind
                table[kind](event.data, None, kind, part, index, sinks)
            except Exception:  # noqa: BLE001 - the fallback gives the reason
                form = self.fallback(part, index, limit, draft)
                if form and form != "apart":
                    return form
        return None

    def _around(
        self, left: Events, part: Slice, limit: int, draft: Draft, text: bytes | None
    ) -> Form | None:
        """Plan events with the type in one field, and the data in another or all around."""
        loads = self.decoders.plain if text else _checked(self.decoders.plain, limit)
        first, inner, strict, mixed = self._first, self._inner, self._strict, self._mixed
        table, sinks = self._table, draft.sinks
        for index, raw in left:
            try:
                event = loads(raw)  # type: ignore[arg-type]
                kind = event[first]
                data = event.get(inner)
                if type(data) is not dict:
                    if (
                        strict
                        or "specversion" in event
                        or (type(data) is str and data[:1] in OPENED)
                    ):
                        raise ValueError
                    data = event
                elif mixed and "specversion" in event:
                    raise ValueError
                table[kind](data, event, kind, part, index, sinks)
            except Exception:  # noqa: BLE001
                if self.fallback(part, index, limit, draft) == "change":
                    return "change"
        return None

    def _change(
        self, left: Events, part: Slice, limit: int, draft: Draft, text: bytes | None
    ) -> Form | None:
        """Plan change events with all their rows."""
        loads = self.decoders.change if text else _checked(self.decoders.change, limit)
        table, updates, sinks = self._table, self._updates, draft.sinks
        read, large = self._rows.read, text is None or may_be_large(text)
        for index, raw in left:
            try:
                rows = read(loads(raw), part, index, large=large)  # type: ignore[arg-type]
                if rows is None:
                    raise ValueError
                kind, new, old, body = rows
                if old is None:
                    table[kind](new, body, kind, part, index, sinks)
                else:
                    updates[kind](new, old, body, kind, part, index, sinks)
            except Exception:  # noqa: BLE001
                form = self.fallback(part, index, limit, draft)
                if form and form != "change":
                    return form
        return None

    def _slow(
        self, left: Events, part: Slice, limit: int, draft: Draft, text: bytes | None
    ) -> None:
        """Plan events whose type is made of several fields, or whose data is nested."""
        for index, _ in left:
            self.fallback(part, index, limit, draft)


def joined_text(values: Sequence[bytes | None], limit: int) -> bytes | None:
    """Return all events as one text; None if one may be too large, a tombstone, or not UTF-8.

    Decoders do not check text that they skip, and checking events one by one takes longer.
    """
    try:
        if max(map(len, values)) > min(limit, LARGE):  # type: ignore[arg-type]
            return None
        some = b"\n".join(values)  # type: ignore[arg-type]
        if not some.isascii():
            some.decode()
    except (TypeError, UnicodeDecodeError):
        return None
    return some


def _checked(loads: Decode, limit: int) -> Decode:
    """Return a decoder that checks the same of each event."""

    def decode(raw: bytes) -> object:
        if len(raw) > limit:
            raise ValueError
        if not raw.isascii():
            raw.decode()
        return loads(raw)

    return decode
