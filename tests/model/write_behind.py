"""A model of write-behind: flushers that take over from each other at any moment.

It explores every interleaving of the steps of docs/decisions/write-behind.md. The property: no
entry leaves the journal unless it was added, and, where the user's function is idempotent by its
token, none is added twice.

    python -m tests.model.write_behind     explores every configuration
"""

from collections.abc import Iterator
from typing import NamedTuple

MOST = 50_000  # states


class Rules(NamedTuple):
    """The protocol under test; each field has the right value as its default."""

    fixed: str = "before"  # when the batch is fixed, relative to the call; or "never"
    bounded: bool = True  # who takes a fixed batch over reads it up to its end only
    token: str = "fixed"  # or "own": each attempt has a token of its own
    fix_checks_owner: bool = True
    finish_checks_token: bool = True
    trims: str = "batch"  # or "all"
    idempotent: bool = True  # the user's function


class Configuration(NamedTuple):
    name: str
    rules: Rules
    expected: str  # "safe", "lost" or "twice"
    flushers: int = 2
    writes: int = 2
    expiries: int = 2  # leases that end while their owner is under way
    crashes: int = 1


class Flusher(NamedTuple):
    at: str = "idle"
    token: int = 0
    last: int = 0  # the batch's last entry; 0: it is not fixed yet
    rows: tuple[int, ...] = ()


class State(NamedTuple):
    journal: tuple[int, ...]
    written: int
    owner: int  # -1: nobody
    token: int  # of the fixed batch; 0: none is fixed
    last: int
    tokens: int  # given so far
    added: tuple[int, ...]  # how often each entry was
    applied: frozenset[int]  # tokens that the target has seen
    flushers: tuple[Flusher, ...]
    writes: int
    expiries: int
    crashes: int


class Found(NamedTuple):
    states: int
    lost: int
    twice: int
    emptied: int  # states in which everything was added


def start(configuration: Configuration) -> State:
    flushers = (Flusher(),) * configuration.flushers
    return State(
        (), 0, -1, 0, 0, 0, (), frozenset(), flushers,
        configuration.writes, configuration.expiries, configuration.crashes,
    )  # fmt: skip


def steps(rules: Rules, state: State) -> Iterator[State]:
    """Yield every state that may come next."""
    if state.writes:
        entry = state.written + 1
        yield state._replace(
            journal=(*state.journal, entry),
            written=entry,
            added=(*state.added, 0),
            writes=state.writes - 1,
        )
    if state.expiries and state.owner >= 0:
        yield state._replace(owner=-1, expiries=state.expiries - 1)
    for number, flusher in enumerate(state.flushers):
        if state.crashes and flusher.at != "idle":
            yield _with(state._replace(crashes=state.crashes - 1), number, Flusher())
        for after, changed in _moves(rules, state, number, flusher):
            yield _with(after, number, changed)


def _with(state: State, number: int, flusher: Flusher) -> State:
    flushers = (*state.flushers[:number], flusher, *state.flushers[number + 1 :])
    return state._replace(flushers=flushers)


def _moves(
    rules: Rules, state: State, number: int, flusher: Flusher
) -> Iterator[tuple[State, Flusher]]:
    match flusher.at:
        case "idle":
            if state.owner in (-1, number):
                last = state.last if rules.bounded else 0
                yield state._replace(owner=number), Flusher("reading", state.token, last)
        case "reading":  # one entry at a time: a batch is read in pages
            seen = flusher.rows[-1] if flusher.rows else 0
            following = [each for each in state.journal if each > seen]
            if following and (not flusher.last or following[0] <= flusher.last):
                yield state, flusher._replace(rows=(*flusher.rows, following[0]))
            if not flusher.rows:
                yield state, Flusher()
            elif not flusher.last or not following or following[0] > flusher.last:
                yield state, _read(rules, flusher)
        case "fixing":
            yield _fixed(rules, state, number, flusher)
        case "calling":
            yield from _called(rules, state, number, flusher)
        case "finishing":
            yield _finished(rules, state, flusher), Flusher()


def _read(rules: Rules, flusher: Flusher) -> Flusher:
    last = flusher.rows[-1]
    if flusher.token and rules.token == "fixed":
        return flusher._replace(at="calling", last=last)
    at = "fixing" if rules.fixed == "before" else "calling"
    return flusher._replace(at=at, token=0, last=last)


def _fixed(rules: Rules, state: State, number: int, flusher: Flusher) -> tuple[State, Flusher]:
    taken = state.token and rules.token == "fixed" and rules.fixed == "before"
    if taken or (rules.fix_checks_owner and state.owner != number):
        return state, Flusher()
    at = "calling" if rules.fixed == "before" else "finishing"
    token = flusher.token or state.tokens + 1
    state = state._replace(token=token, last=flusher.last, tokens=max(state.tokens, token))
    return state, flusher._replace(at=at, token=token)


def _called(
    rules: Rules, state: State, number: int, flusher: Flusher
) -> Iterator[tuple[State, Flusher]]:
    """The user's function: it fails, or its transaction is committed."""
    owner = -1 if state.owner == number else state.owner
    yield state._replace(owner=owner), Flusher()
    token = flusher.token
    if not token:
        token = state.tokens + 1
        state = state._replace(tokens=token)
    if not (rules.idempotent and token in state.applied):
        added = tuple(
            count + (each in flusher.rows) for each, count in enumerate(state.added, start=1)
        )
        state = state._replace(added=added, applied=state.applied | {token})
    at = "fixing" if rules.fixed == "after" and not flusher.token else "finishing"
    yield state, flusher._replace(at=at, token=token)


def _finished(rules: Rules, state: State, flusher: Flusher) -> State:
    if rules.finish_checks_token and rules.fixed != "never" and state.token != flusher.token:
        return state
    left = tuple(each for each in state.journal if each > flusher.last)
    return state._replace(journal=() if rules.trims == "all" else left, token=0, last=0)


def explore(configuration: Configuration) -> Found:
    """Visit every state; a wrong protocol may have them without end."""
    todo = [start(configuration)]
    seen = set(todo)
    lost = twice = emptied = 0
    while todo and len(seen) < MOST:
        state = todo.pop()
        gone = [each for each in range(1, state.written + 1) if each not in state.journal]
        lost += any(not state.added[each - 1] for each in gone)
        twice += any(count > 1 for count in state.added)
        emptied += not state.journal and not state.writes
        for after in steps(configuration.rules, state):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return Found(len(seen), lost, twice, emptied)


RIGHT = Rules()
CONFIGURATIONS = (
    Configuration("the protocol", RIGHT, "safe"),
    Configuration("three flushers", RIGHT, "safe", flushers=3, expiries=1),
    Configuration("three writes", RIGHT, "safe", writes=3, expiries=2, crashes=2),
    Configuration("not idempotent", Rules(idempotent=False), "twice"),
    Configuration("the batch is never fixed", Rules(fixed="never"), "twice"),
    Configuration("the batch is fixed after the call", Rules(fixed="after"), "twice"),
    Configuration("each attempt has a token of its own", Rules(token="own"), "twice"),
    Configuration("who takes over reads everything", Rules(bounded=False), "lost"),
    Configuration("anybody may fix a batch", Rules(fix_checks_owner=False), "twice"),
    Configuration("anybody may finish a batch", Rules(finish_checks_token=False), "twice"),
    Configuration("the whole journal is trimmed", Rules(trims="all"), "lost"),
)

if __name__ == "__main__":
    for each in CONFIGURATIONS:
        print(f"{each.name}: {explore(each)}, expected {each.expected}", flush=True)
