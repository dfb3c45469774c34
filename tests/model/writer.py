"""A writer, step by step: it commits a row, then invalidates in the way of its kind."""

from collections.abc import Iterator
from typing import Any

from tests.model.state import DONE, Rules, State, Writer, lease_alone, value_put

Change = dict[str, Any]
Step = tuple[str, Change, Writer]


def steps(rules: Rules, state: State, writer: Writer, *, restarts: bool) -> Iterator[Step]:
    """`restarts`: a finished write is remembered, since it may have to be invalidated again."""
    yield from _Steps(rules, state, writer, restarts).next()


class _Steps:
    def __init__(self, rules: Rules, state: State, writer: Writer, restarts: bool) -> None:
        self.rules = rules
        self.state = state
        self.me = writer
        self.restarts = restarts

    def next(self) -> Iterator[Step]:
        me = self.me
        if me.at == "begin" and me.kind == "writing":
            stamped = self.rules.tags or self.rules.version == "stamp"
            says = stamped and not self.rules.unsaid
            yield self._lease("stamps" if says else "commit")
        elif me.at == "begin" and me.kind == "double":
            yield self._step("unlink", {"entries": ()}, at="commit")
        elif me.at in ("begin", "commit"):
            row = self.state.row + 1
            yield self._step(f"commit {row}", {"row": row}, at="invalidate", value=row)
        elif me.at == "stamps":
            yield self._take_stamp()
        elif me.at == "invalidate":
            yield self._invalidate()
        elif me.at == "fill":
            yield self._fill((), forget=True)
        elif me.at == "unlink-found":
            entries = () if me.token else self.state.entries
            label, change, done = self._applied("UNLINK of the sweep", {"entries": entries})
            yield label, change, done._replace(token=0)

    def _step(self, label: str, change: Change, **fields: Any) -> Step:
        return f"W{self.me.number} {label}", change, self.me._replace(**fields)

    def _applied(self, label: str, change: Change, *, forget: bool = False) -> Step:
        """From now on no read that begins may return an older value."""
        assert self.me.value is not None
        floor = max(self.state.floor, self.me.value)
        kept = self.me.value if self.restarts else None
        fields: dict[str, Any] = {"token": 0} if forget else {"value": kept}
        return self._step(label, {**change, "floor": floor}, at=DONE, **fields)

    def _lease(self, then: str) -> Step:
        token, entry = 300 + self.me.number, self.state.entry()
        if entry is not None and entry.value is not None:
            leased = entry._replace(lease=token, live=True, writer=True)
        else:
            leased = lease_alone(token, writer=True)
        change = {"entries": self.state.with_entry(0, leased)}
        return self._step("lease", change, at=then, token=(token, ()))

    def _take_stamp(self) -> Step:
        state, (token, taken) = self.state, self.me.token
        number, clock = len(taken), self.state.clock
        change: Change = {}
        if number < self.rules.tags:
            stamp, name = state.stamps[number], f"stamp {number}"
            if stamp == 0:
                stamp = 1000 + clock
                stamps = (*state.stamps[:number], stamp, *state.stamps[number + 1 :])
                change = {"stamps": stamps, "clock": clock + 1}
        else:
            stamp, name = state.version, "version"
            if stamp == 0:
                stamp, change = clock, {"version": clock, "clock": clock + 1}
        needed = self.rules.tags + (self.rules.version == "stamp")
        then = "commit" if number + 1 == needed else "stamps"
        label = f"create {name}" if change else f"read {name}"
        return self._step(label, change, at=then, token=(token, (*taken, stamp)))

    def _invalidate(self) -> Step:
        state, kind, value = self.state, self.me.kind, self.me.value
        assert value is not None
        if kind in ("key", "double"):
            return self._applied("UNLINK", {"entries": ()})
        if kind in ("tag", "tag2"):
            number = 0 if kind == "tag" else 1
            stamps = (*state.stamps[:number], 0, *state.stamps[number + 1 :])
            return self._applied(f"UNLINK stamp {number}", {"stamps": stamps})
        if kind == "version":
            raised = max(state.version + 1, state.clock)
            return self._applied("bump", {"version": raised, "clock": state.clock + 1})
        if kind == "pattern":
            found = bool(state.entries)
            return self._step(f"SCAN finds {found}", {}, at="unlink-found", token=int(found))
        if kind == "blind":  # wrong: SET after the commit, whatever is there
            return self._set(value, state.stamps)
        if kind == "writing":
            return self._fill(self.me.token[1], forget=True)
        if kind == "latelease":  # wrong: the lease is taken after the commit
            return self._lease("fill")
        assert kind in ("versioned", "versioned-absent")
        return self._replace_older(value, fill_empty=kind == "versioned-absent")

    def _fill(self, stamps: tuple[int, ...], *, forget: bool) -> Step:
        """After the commit: fill under its own lease, or drop."""
        assert self.me.value is not None
        entry = self.state.entry()
        held = entry is not None and entry.lease == self.me.token[0]
        if not held or self.rules.unsaid == "drop":
            dropped = {"entries": self.state.with_entry(0, None)}
            return self._applied("drop", dropped, forget=forget)
        put = value_put(self.me.value, stamps, 600 + self.me.number)
        change = {"entries": self.state.with_entry(0, put)}
        return self._applied(f"fill {self.me.value}", change, forget=forget)

    def _set(self, value: int, stamps: tuple[int, ...]) -> Step:
        put = value_put(value, stamps, 600 + self.me.number)
        change = {"entries": self.state.with_entry(0, put)}
        return self._applied(f"SET {value}", change, forget=True)

    def _replace_older(self, value: int, *, fill_empty: bool) -> Step:
        """Replace an older value that is there; drop whatever else there is."""
        entry = self.state.entry()
        there = entry is not None and entry.value is not None
        if entry is not None and there and entry.row >= value:
            return self._applied("finds one as new", {}, forget=True)
        if there or fill_empty:  # filling an absent key is wrong
            return self._set(value, ())
        dropped = {"entries": self.state.with_entry(0, None)}
        return self._applied("drop", dropped, forget=True)
