"""The model of a cache in the process (L1) before Redis, kept honest by the backplane.

A command is sent, Redis executes it, and the process handles the reply: three steps. So are the
deletion, its announcement, and the moment when the process handles that. The property: a read that
begins after the process has handled the announcement of a committed write, or has noticed that it
missed something, or has subscribed again, never returns an older value.

    python -m tests.model.l1          explores every configuration
    python -m tests.model.l1 NAME     shows the shortest way to a stale read, if there is one
"""

import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tests.model.explore import Found

Step = tuple[str, "State", str | None]


class Rules(NamedTuple):
    """The rules under test; each field has the right value as its default."""

    marks: bool = True  # a copy needs a mark that lives
    loads: bool = False  # what was loaded is kept if it was put, not only what was found
    off: bool = True  # nothing is kept from a lost link until everybody was heard
    gap: bool = True  # a lost link empties the L1, and kills all marks
    born: bool = True  # a read that began while nothing was kept keeps nothing
    before: bool = False  # announced before it is deleted


class Configuration(NamedTuple):
    name: str
    readers: int
    writers: int
    events: dict[str, int]
    rules: Rules
    expected: str


class Reader(NamedTuple):
    at: str = "begin"
    floor: int = 0
    got: int | None = None
    alive: bool = True
    lease: int = 0
    done: bool = False  # the put


class Near(NamedTuple):
    """The process: its copy, its link, and what it has handled."""

    copy: int | None = None
    queue: tuple[int, ...] = ()
    link: str = "up"
    mode: str = "on"
    floor: int = 0


class State(NamedTuple):
    row: int
    value: int | None  # of the entry in Redis
    lease: int
    applied: int  # the newest row whose deletion was applied
    near: Near
    readers: tuple[Reader, ...]
    writers: tuple[tuple[str, int], ...]
    events: tuple[tuple[str, int], ...]


def start(configuration: Configuration) -> State:
    readers = (Reader(),) * configuration.readers
    writers = (("commit", 0),) * configuration.writers
    return State(
        0, None, 0, 0, Near(), readers, writers, tuple(sorted(configuration.events.items()))
    )


def steps(rules: Rules, state: State) -> Iterator[Step]:
    """Every step that may come next: its label, the state after it, and a violation."""
    for number, reader in enumerate(state.readers):
        yield from _read(rules, state, number, reader)
    for number, (at, row) in enumerate(state.writers):
        yield from _write(rules, state, number, at, row)
    yield from _link(rules, state)
    yield from _events(state)


class _Reading(NamedTuple):
    """The steps of one reader."""

    rules: Rules
    state: State
    number: int
    reader: Reader

    def goes(self, label: str, reader: Reader, **changes: object) -> Step:
        before, after = self.state.readers[: self.number], self.state.readers[self.number + 1 :]
        state = self.state._replace(readers=(*before, reader, *after), **changes)  # type: ignore[arg-type]
        return f"R{self.number} {label}", state, None

    def returns(self, label: str, value: int, *, keep: bool = False) -> Step:
        near, rules, reader = self.state.near, self.rules, self.reader
        keep = keep and (reader.alive or not rules.marks) and (near.mode == "on" or not rules.off)
        floor = near.floor if reader.at == "begin" else reader.floor
        ended = Reader("done")
        near = near._replace(copy=value) if keep else near
        name, state, _ = self.goes(f"{label} {value}{' (kept)' if keep else ''}", ended, near=near)
        stale = f"reader {self.number} began with floor {floor} and returned {value}"
        return name, state, stale if value < floor else None


def _read(rules: Rules, state: State, number: int, reader: Reader) -> Iterator[Step]:
    it, near = _Reading(rules, state, number, reader), state.near
    listening = near.mode == "on"
    match reader.at:
        case "begin":
            if near.copy is not None and (listening or not rules.off):
                yield it.returns("L1 hit", near.copy)
            else:
                alive = listening or not rules.born
                yield it.goes("sends GET", Reader("get", near.floor, alive=alive))
        case "get":
            found = reader._replace(at="reply", got=state.value, lease=state.lease)
            yield it.goes("GET executes", found)
        case "reply" if reader.got is not None:
            yield it.returns("found", reader.got, keep=True)
        case "reply" if reader.lease:
            yield it.goes("waits, asks again", _again(rules, near, reader))
            yield it.returns("loads without caching", state.row)
        case "reply" if (state.value, state.lease) == (None, 0):
            yield it.goes("leases", reader._replace(at="load", lease=number + 1), lease=number + 1)
        case "reply":
            yield it.goes("asks again", _again(rules, near, reader))
        case "load":
            yield it.goes(f"loads {state.row}", reader._replace(at="put", got=state.row))
        case "put":
            done = state.lease == reader.lease
            put: dict[str, object] = {"value": reader.got, "lease": 0} if done else {}
            yield it.goes(f"PUT {done}", reader._replace(at="answer", done=done), **put)
        case "answer":
            assert reader.got is not None
            yield it.returns("loaded", reader.got, keep=reader.done and rules.loads)


def _again(rules: Rules, near: Near, reader: Reader) -> Reader:
    """Each GET is registered by itself."""
    alive = near.mode == "on" or not rules.born
    return Reader("get", reader.floor, alive=alive)


def _write(rules: Rules, state: State, number: int, at: str, row: int) -> Iterator[Step]:
    def goes(at: str, mine: int, **changes: object) -> State:
        writers = (*state.writers[:number], (at, mine), *state.writers[number + 1 :])
        return state._replace(writers=writers, **changes)  # type: ignore[arg-type]

    first, second = ("publish", "apply") if rules.before else ("apply", "publish")
    following = {"commit": first, first: second, second: "done"}
    match at:
        case "commit":
            new = state.row + 1
            yield f"W{number} commits {new}", goes(first, new, row=new), None
        case "apply":
            applied = max(state.applied, row)
            after = goes(following[at], row, value=None, lease=0, applied=applied)
            yield f"W{number} UNLINK", after, None
        case "publish":
            near = state.near
            if near.link == "up":
                near = near._replace(queue=(*near.queue, row))
            yield f"W{number} publishes {row}", goes(following[at], row, near=near), None


def _link(rules: Rules, state: State) -> Iterator[Step]:
    near = state.near
    readers = tuple(
        reader if reader.at in ("begin", "done") else reader._replace(alive=False)
        for reader in state.readers
    )
    floor = max(near.floor, state.applied)
    if near.link == "up" and near.queue:
        row, *queue = near.queue
        heard = near._replace(copy=None, queue=tuple(queue), floor=max(near.floor, row))
        yield f"message {row} is handled", state._replace(near=heard, readers=readers), None
    if near.link == "broken":
        mode = "off" if rules.off else near.mode
        down = near._replace(queue=(), link="down", mode=mode, floor=floor)
        if rules.gap:
            yield (
                "the gap is noticed",
                state._replace(near=down._replace(copy=None), readers=readers),
                None,
            )
        else:
            yield "the gap is noticed", state._replace(near=down), None
    if near.link == "down":
        mode = "hearing" if rules.off else near.mode
        again = near._replace(queue=(), link="up", mode=mode, floor=floor)
        yield "subscribed again", state._replace(near=again), None
    if near.link == "up" and near.mode == "hearing":
        yield "everybody was heard", state._replace(near=near._replace(mode="on")), None


def _events(state: State) -> Iterator[Step]:
    near = state.near
    for number, (event, left) in enumerate(state.events):
        if not left:
            continue
        rest = (*state.events[:number], (event, left - 1), *state.events[number + 1 :])
        after = state._replace(events=rest)
        if event == "break" and near.link == "up":
            broken = near._replace(queue=(), link="broken")
            yield "the link breaks", after._replace(near=broken), None
        elif event == "evict" and (state.value is not None or state.lease):
            yield "Redis evicts", after._replace(value=None, lease=0), None
        elif event == "evictL1" and near.copy is not None:
            yield "L1 evicts", after._replace(near=near._replace(copy=None)), None


def explore(
    configuration: Configuration, limit: int | None = None, *, first: bool = False
) -> Found:
    """Visit every state, at most `limit` of them, or up to the first violation."""
    todo = [start(configuration)]
    seen = {hash(todo[0])}
    violations = hits = 0
    while todo:
        for label, after, bad in steps(configuration.rules, todo.pop()):
            hits += " L1 hit " in label
            violations += bad is not None
            known = hash(after)
            if known not in seen:
                seen.add(known)
                todo.append(after)
        if (limit is not None and len(seen) > limit) or (first and violations):
            return Found(len(seen), violations, hits, whole=False)
    return Found(len(seen), violations, hits, whole=True)


def shortest(configuration: Configuration) -> tuple[str, ...]:
    """Return the shortest way to a stale read; empty where there is none."""
    begin = start(configuration)
    todo: deque[tuple[State, tuple[str, ...]]] = deque([(begin, ())])
    seen = {begin}
    while todo:
        state, path = todo.popleft()
        for label, after, bad in steps(configuration.rules, state):
            if bad is not None:
                return (*path, label, bad)
            if after not in seen:
                seen.add(after)
                todo.append((after, (*path, label)))
    return ()


BREAK = {"break": 1}
CONFIGURATIONS = (
    Configuration("the rules", 3, 1, BREAK, Rules(), "safe"),
    Configuration("the rules, eviction", 3, 1, {"evict": 1, "evictL1": 1}, Rules(), "safe"),
    Configuration("what was put is kept", 2, 2, BREAK, Rules(loads=True), "safe"),
    Configuration("what was put is kept, three reads", 3, 1, BREAK, Rules(loads=True), "safe"),
    Configuration("no marks", 3, 1, {}, Rules(marks=False), "stale"),
    Configuration("announced before it is deleted", 3, 1, {}, Rules(before=True), "stale"),
    Configuration("a gap drops nothing", 3, 1, BREAK, Rules(gap=False, off=False), "stale"),
    Configuration("kept while not subscribed", 3, 1, BREAK, Rules(off=False), "stale"),
    Configuration(
        "a read that began while nothing was kept", 3, 1, BREAK, Rules(born=False), "stale"
    ),
)


def main(names: list[str]) -> None:
    for configuration in CONFIGURATIONS:
        if not names:
            print(
                f"{configuration.name}, expected {configuration.expected}: {explore(configuration)}"
            )
        elif configuration.name in names:
            print(configuration.name, *shortest(configuration), sep="\n    ")


if __name__ == "__main__":
    main(sys.argv[1:])
