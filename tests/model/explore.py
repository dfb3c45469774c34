"""An explicit-state model checker: it explores all interleavings of the atomic steps.

The property: a read that begins after a write was committed and its invalidation was applied
never returns an older value. `State.floor` is the newest such value; a reader remembers it in the
same step as its first Redis command, which is the strictest moment.

    python -m tests.model.explore          explores every configuration
    python -m tests.model.explore NAME     shows the shortest way to a stale read, if there is one
"""

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tests.model import environment, reader, writer
from tests.model.state import Configuration, Reader, Rules, State, Writer


class Found(NamedTuple):
    states: int
    violations: int
    hits: int
    whole: bool  # every state was explored
    path: tuple[str, ...] = ()  # to the first stale read, where it was asked for


class Model:
    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.rules = Rules(**configuration.options)
        self._restarts = "restart" in configuration.events

    def start(self) -> State:
        readers = map(Reader, range(self.configuration.readers))
        writers = (Writer(at, kind) for at, kind in enumerate(self.configuration.writers))
        events = tuple(sorted(self.configuration.events.items()))
        stamps = (0,) * self.rules.tags
        return State(0, (), None, stamps, 0, (*readers, *writers), events, 0, None, 1, ())

    def steps(self, state: State) -> Iterator[tuple[str, State, str | None]]:
        """Every step that may come next: its label, the state after it, and a violation."""
        for number, proc in enumerate(state.procs):
            before, after = state.procs[:number], state.procs[number + 1 :]
            if isinstance(proc, Reader):
                for label, change, read, bad in reader.steps(self.rules, state, proc):
                    yield label, state._replace(procs=(*before, read, *after), **change), bad
            else:
                moves = writer.steps(self.rules, state, proc, restarts=self._restarts)
                for label, change, wrote in moves:
                    yield label, state._replace(procs=(*before, wrote, *after), **change), None
        for label, next_state in environment.steps(self.configuration, self.rules, state):
            yield label, next_state, None


def explore(configuration: Configuration, limit: int | None = None) -> Found:
    """Visit every state, at most `limit` of them; states are remembered by their hashes."""
    model = Model(configuration)
    todo = [model.start()]
    seen = {hash(todo[0])}
    violations = hits = 0
    while todo:
        state = todo.pop()
        for label, after, bad in model.steps(state):
            if after == state:
                continue
            hits += " hit -> " in label
            violations += bad is not None
            known = hash(after)
            if known not in seen:
                seen.add(known)
                todo.append(after)
        if limit is not None and len(seen) > limit:
            return Found(len(seen), violations, hits, whole=False)
    return Found(len(seen), violations, hits, whole=True)


def shortest(configuration: Configuration) -> tuple[str, ...]:
    """Return the shortest way to a stale read; empty where there is none."""
    model = Model(configuration)
    start = model.start()
    parents: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    while todo:
        state = todo.popleft()
        for label, after, bad in model.steps(state):
            if bad is not None:
                return (*_path(parents, state), label, bad)
            if after not in parents:
                parents[after] = (state, label)
                todo.append(after)
    return ()


def _path(parents: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    labels: list[str] = []
    while (step := parents[state]) is not None:
        state, label = step
        labels.append(label)
    return labels[::-1]


def main(names: list[str]) -> None:
    from tests.model.configurations import CONFIGURATIONS

    if names:
        for configuration in CONFIGURATIONS:
            if configuration.name in names:
                print(configuration.name, *shortest(configuration), sep="\n    ")
        return
    for configuration in CONFIGURATIONS:
        began = time.monotonic()
        found = explore(configuration)
        seconds = time.monotonic() - began
        print(
            f"{configuration.name}: {found.states:,} states, {found.violations:,} stale,"
            f" {found.hits:,} hits, expected {configuration.expected}, {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
