"""A reader, step by step: a step is one Redis command, one script, or one read of the database."""

from collections.abc import Iterator
from typing import Any

from tests.model.state import NO_LEASE, Entry, Reader, Rules, State, lease_alone, value_put

Change = dict[str, Any]  # fields of the state
Step = tuple[str, Change, Reader, str | None]  # label, change, the reader after it, a violation


def steps(rules: Rules, state: State, reader: Reader) -> Iterator[Step]:
    yield from _Steps(rules, state, reader).next()


class _Steps:
    def __init__(self, rules: Rules, state: State, reader: Reader) -> None:
        self.rules = rules
        self.state = state
        self.me = reader
        self.token = 1 if rules.lease == "client" else 10 * (reader.number + 1) + reader.attempt + 1
        self.key = reader.version if rules.version in ("key0", "keynx") else 0

    def next(self) -> Iterator[Step]:
        me, state = self.me, self.state
        if me.at == "begin":
            yield from self._begin()
        elif me.at == "versioned":
            yield from self._decide(me.floor, state.entry(me.version), state.stamps, state.version)
        elif me.at == "has-entry":
            yield from self._decide(me.floor, me.got, state.stamps, state.version)
        elif me.at == "has-stamps":
            yield from self._decide(me.floor, state.entry(), me.stamps or (), me.version)
        elif me.at == "lease":
            yield from self._lease()
        elif me.at == "stamps":
            yield from self._take_stamps()
        elif me.at == "loaded" and self.rules.stamp == "after" and self.rules.tags:
            stamps = state.stamps
            if self.rules.missing == "nx" and 0 in stamps:
                stamps = tuple(stamp or 1000 + state.clock for stamp in stamps)
            change = {"stamps": stamps, "clock": state.clock + 1}
            yield self._step("stamps after the load", change, at="put", stamps=stamps)
        elif me.at in ("loaded", "put"):
            yield self._put()
        elif me.at == "alone":
            yield self._finish(state.row, {}, "load without caching")
        elif me.at == "joined":
            yield from self._share()

    def _step(self, label: str, change: Change, **fields: Any) -> Step:
        return f"R{self.me.number} {label}", change, self.me._replace(**fields), None

    def _finish(self, value: int, change: Change, label: str, floor: int | None = None) -> Step:
        floor = self.me.floor if floor is None else floor
        number = self.me.number
        said = f"reader {number} began with floor {floor} and returned {value}"
        bad = None if value >= floor else said
        return f"R{number} {label} -> {value}", change, self.me.done(), bad

    def _again(self, label: str) -> Step:
        if self.me.attempt + 1 >= self.rules.attempts:
            blank = {"refresh": False, "taking": False, "stamps": None, "got": None}
            return self._step(label, {}, at="alone", **blank)
        fresh = Reader(self.me.number, floor=self.me.floor, attempt=self.me.attempt + 1)
        return f"R{self.me.number} {label}", {}, fresh._replace(version=self.me.version), None

    # --- finding out what is there --------------------------------------------------------------

    def _begin(self) -> Iterator[Step]:
        state, rules = self.state, self.rules
        floor = state.floor if self.me.floor < 0 else self.me.floor
        if rules.version in ("key0", "keynx"):  # the version comes first: it names the key
            if rules.version == "keynx" and state.version == 0:
                change = {"version": state.clock, "clock": state.clock + 1}
                moved = {"at": "versioned", "floor": floor, "version": state.clock}
                yield self._step("create version", change, **moved)
            else:
                moved = {"at": "versioned", "floor": floor, "version": state.version}
                yield self._step("get version", {}, **moved)
        elif rules.split and (rules.tags or rules.version == "stamp"):
            yield self._step("get entry", {}, at="has-entry", floor=floor, got=state.entry())
            moved = {"at": "has-stamps", "floor": floor}
            taken = {"stamps": state.stamps, "version": state.version}
            yield self._step("get stamps", {}, **moved, **taken)
        else:
            yield from self._decide(floor, state.entry(), state.stamps, state.version)

    def _valid(self, entry: Entry | None, stamps: tuple[int, ...], version: int) -> bool:
        rules = self.rules
        if entry is None or entry.value is None:
            return False
        if rules.unsaid and not entry.stamps:  # the entry itself says what it depends on
            return True
        if rules.tags and rules.missing == "nx" and 0 in stamps:
            return False
        if rules.tags and entry.stamps[: rules.tags] != stamps:
            return False
        return rules.version != "stamp" or (version != 0 and entry.stamps[-1] == version)

    def _decide(
        self, floor: int, entry: Entry | None, stamps: tuple[int, ...], version: int
    ) -> Iterator[Step]:
        """Decide by what was found."""
        if entry is not None and self._valid(entry, stamps, version):
            yield from self._hit(floor, entry)
            return
        to_lease = {"at": "lease", "floor": floor, "version": self.key, "stamps": None, "got": None}
        if self.rules.lease in ("none", "separate"):
            yield self._step("miss", {}, **to_lease, seen=0)
            return
        flights, flight = self.state.flights, self.rules.flight
        joined = {"at": "joined", "floor": floor, "stamps": None, "got": None}
        if flight == "key" and flights:
            yield self._step("joins by key", {}, **joined, seen=flights[0][0])
            return
        if entry is not None and entry.value is None and _held(entry) and not entry.writer:
            if flight in ("token", "token-absent"):
                for token, its_stamps, _ in flights:
                    if token == entry.lease and its_stamps in (None, stamps):
                        yield self._step("joins by token", {}, **joined, seen=token)
                        return
            alone = {"at": "alone", "floor": floor, "stamps": None, "version": 0, "got": None}
            yield self._step("waited too long", {}, **alone)
            if self.me.at != "begin" or floor != self.me.floor:
                at = "versioned" if self.rules.version in ("key0", "keynx") else "begin"
                blank = {"stamps": None, "got": None, "version": self.key}
                yield self._step("waits", {}, at=at, floor=floor, **blank)
            return
        seen = entry.id if entry is not None and entry.value is not None else 0
        change: Change = {}
        if flight == "token-absent":  # wrong: what the reader saw, not what the load took
            change["flights"] = (*flights, (self.token, stamps, None))
        elif flight and not (flight == "token" and self.rules.tags):
            change["flights"] = (*flights, (self.token, None, None))
        blank = {"refresh": False, "taking": False}
        yield self._step("miss", change, **to_lease, **blank, seen=seen)

    def _hit(self, floor: int, entry: Entry) -> Iterator[Step]:
        assert entry.value is not None
        plain = self.rules.lease in ("none", "separate")
        if plain or entry.fresh:
            yield self._finish(entry.value, {}, "hit", floor)
            return
        # Softly expired: answer now, and perhaps refresh afterwards, as the same process.
        label, change, done, bad = self._finish(entry.value, {}, "stale hit", floor)
        yield label, change, done, bad
        more = Reader(self.me.number, "lease", floor, self.me.attempt, entry.id, refresh=True)
        yield label, change, more._replace(version=self.key), bad

    # --- loading under a lease ------------------------------------------------------------------

    def _lease(self) -> Iterator[Step]:
        state, rules, token = self.state, self.rules, self.token
        if rules.lease == "none":
            yield self._step("(no lease)", {}, at="stamps")
            return
        if rules.lease == "separate":
            yield self._step("lease in another key", {"separate": token}, at="stamps")
            return
        entry = state.entry(self.key)
        if entry is not None:
            if entry.lease == token and rules.lease != "client":
                yield self._step("lease again", {}, at="stamps")
                return
            if entry.value is not None and entry.id != self.me.seen:
                yield self._again("lease: changed")
                return
            if _held(entry) and not entry.writer:
                yield self._again("lease: another holds it")
                return
            if rules.lease == "client" and entry.value is None and entry.lease:
                yield self._again("lease: held")
                return
        if entry is not None and entry.value is not None and self.me.refresh:
            leased = entry._replace(lease=token, live=True, writer=False)
        else:
            leased = lease_alone(token)
        change = {"entries": state.with_entry(self.key, leased)}
        yield self._step("lease granted", change, at="stamps")

    def _take_stamps(self) -> Iterator[Step]:
        """Stamps, one by one: each lies in a slot of its own."""
        rules, state = self.rules, self.state
        needed = rules.tags + (rules.version == "stamp")
        taken = (self.me.stamps or ()) if self.me.taking else ()
        if needed == 0 or rules.stamp == "after" or len(taken) == needed:
            yield self._load()
            return
        number, clock = len(taken), state.clock
        if number < rules.tags:
            stamp, name = state.stamps[number], f"stamp {number}"
            if stamp == 0 and rules.missing == "nx":
                stamp = 1000 + clock
                stamps = (*state.stamps[:number], stamp, *state.stamps[number + 1 :])
                change: Change = {"stamps": stamps, "clock": clock + 1}
            else:
                change = {}
        elif state.version == 0:
            stamp, name, change = clock, "version", {"version": clock, "clock": clock + 1}
        else:
            stamp, name, change = state.version, "version", {}
        label = f"create {name}" if change else f"read {name}"
        yield self._step(label, change, stamps=(*taken, stamp), taking=True)

    def _load(self) -> Step:
        state, token = self.state, self.token
        change: Change = {}
        if self.rules.flight == "token" and self.rules.tags:  # shared from here on, by its stamps
            change["flights"] = (*state.flights, (token, self.me.stamps, state.row))
        elif self.rules.flight:
            change["flights"] = tuple(
                (it[0], it[1], state.row) if it[0] == token else it for it in state.flights
            )
        got = (state.row, self.me.refresh)
        blank = {"refresh": False, "taking": False}
        return self._step(f"load {state.row}", change, at="loaded", got=got, **blank)

    def _put(self) -> Step:
        state, token, lease = self.state, self.token, self.rules.lease
        value, in_background = self.me.got
        stamped = self.rules.tags or self.rules.version == "stamp"
        entry = state.entry(self.key)
        if lease == "separate":
            ok = state.separate == token
        else:
            ok = lease == "none" or (entry is not None and entry.lease == token)
        change: Change = {}
        if ok:
            put = value_put(value, (self.me.stamps or ()) if stamped else (), token + 500)
            change["entries"] = state.with_entry(self.key, put)
            if lease == "separate":
                change["separate"] = None
        if self.rules.flight:
            change["flights"] = tuple(it for it in state.flights if it[0] != token)
        answer = "ok" if ok else "refused"
        if in_background:
            label = f"R{self.me.number} put in the background {answer}"
            return label, change, self.me.done(), None
        return self._finish(value, change, f"put {answer}")

    def _share(self) -> Iterator[Step]:
        """Wait for a load of the same process."""
        for token, _, value in self.state.flights:
            if token == self.me.seen:
                if value is not None:
                    yield self._finish(value, {}, "shares a load")
                return
        yield self._step("the shared load is over", {}, at="begin", seen=0)


def _held(entry: Entry) -> bool:
    return entry.lease != NO_LEASE and entry.live
