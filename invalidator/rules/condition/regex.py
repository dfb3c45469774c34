"""matches(): regular expressions whose time grows only linearly with the text.

Python's `re` backtracks: on hostile data even `a*b` takes quadratic time and `(a+)+b` exponential.
The text comes from events, so a pattern becomes an automaton instead, as in RE2, of which the
syntax is a subset: its states are made when first needed and remembered, a known one costs a
dict lookup per character. Nothing that an automaton cannot do is accepted (backreferences,
lookaround), so no pattern has to be suspected.
"""

from collections.abc import Iterable
from typing import Final

from invalidator.rules.condition.errors import ConditionError
from invalidator.rules.condition.regex_parser import (
    Alternatives,
    Anchor,
    CharacterSet,
    Part,
    PatternError,
    Repeat,
    Sequence,
    parse_pattern,
)

MAX_STEPS = 1000  # of the program; counted repetitions are written out
MAX_SUBJECT = 10_000  # characters of the text that is searched
MAX_REMEMBERED = 4096  # transitions of one automaton; then it forgets them all

__all__ = ["MAX_SUBJECT", "Pattern", "PatternError"]

MATCH: Final = "match"
Step = CharacterSet | Anchor | tuple[int, ...] | str  # a tuple: go on at each of these; or MATCH


class Pattern:
    """A checked pattern. Equal to another with the same text."""

    __slots__ = ("_begin", "_ignore_case", "_known", "_program", "_remembered", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        part, self._ignore_case = parse_pattern(text)
        self._program: list[Step] = []
        self._write(part)
        self._program.append(MATCH)
        self._known: dict[tuple[frozenset[int], bool, bool], _State] = {}
        self._remembered = 0
        self._begin = self._state([0], begin=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def search(self, text: object) -> bool:
        """Whether the pattern occurs anywhere in the text."""
        if type(text) is not str:
            raise ConditionError("matches() needs a string")
        if len(text) > MAX_SUBJECT:
            raise ConditionError(f"matches() searches at most {MAX_SUBJECT} characters")
        state = self._begin
        if state.verdict is not None:
            return state.verdict
        for character in text:
            state = state[character]
            if state.verdict is not None:
                return state.verdict
        return state.at_end

    def step(self, state: "_State", character: str) -> "_State":
        """The state after one more character; remembered, within bounds."""
        following = [at + 1 for at in state.places if self._accepts(at, character)]
        after = self._state([*following, 0], begin=False)  # a match may begin anywhere
        if self._remembered >= MAX_REMEMBERED:
            self._forget()
        self._remembered += 1
        state[character] = after
        return after

    def _accepts(self, at: int, character: str) -> bool:
        one = self._program[at]
        assert isinstance(one, CharacterSet)
        if one.accepts(character):
            return True
        return self._ignore_case and (
            one.accepts(character.lower()) or one.accepts(character.upper())
        )

    def _forget(self) -> None:
        for state in self._known.values():
            state.clear()
        self._begin.clear()
        self._known = {}
        self._remembered = 0

    def _state(self, starts: Iterable[int], *, begin: bool) -> "_State":
        key = self._closure(starts, begin=begin)
        if key not in self._known:
            self._known[key] = _State(self, *key)
        return self._known[key]

    def _closure(self, starts: Iterable[int], *, begin: bool) -> tuple[frozenset[int], bool, bool]:
        """Where the next character is read; whether it matches now; whether it does at the end."""
        places = set()
        waiting = [(at, False) for at in starts]
        seen = set(waiting)
        matched = at_end = False
        while waiting:
            at, ended = waiting.pop()
            one = self._program[at]
            ways: list[tuple[int, bool]] = []
            if isinstance(one, str):
                matched, at_end = matched or not ended, True
            elif isinstance(one, CharacterSet):
                if not ended:
                    places.add(at)
            elif isinstance(one, Anchor):
                if begin or one.end:
                    ways = [(at + 1, ended or one.end)]
            else:
                ways = [(way, ended) for way in one]
            fresh = [way for way in ways if way not in seen]
            seen.update(fresh)
            waiting += fresh
        return frozenset(places), matched, at_end

    def _write(self, part: Part) -> None:
        match part:
            case Sequence(parts=parts):
                for one in parts:
                    self._write(one)
            case Alternatives(parts=parts):
                self._write_alternatives(parts)
            case Repeat(part=one, least=least, most=most):
                self._write_repeat(one, least, most)
            case CharacterSet() | Anchor():
                self._emit(part)

    def _emit(self, step: Step) -> int:
        if len(self._program) >= MAX_STEPS:
            raise PatternError("the pattern is too large: its counted repetitions are written out")
        self._program.append(step)
        return len(self._program) - 1

    def _write_alternatives(self, parts: tuple[Part, ...]) -> None:
        fork = self._emit(())
        starts, leaves = [], []
        for one in parts:
            starts.append(len(self._program))
            self._write(one)
            leaves.append(self._emit(()))
        self._program[fork] = tuple(starts)
        for leave in leaves:
            self._program[leave] = (len(self._program),)

    def _write_repeat(self, part: Part, least: int, most: int | None) -> None:
        for _ in range(least):
            self._write(part)
        if most is None:
            fork = self._emit(())
            self._write(part)
            self._emit((fork,))
            self._program[fork] = (fork + 1, len(self._program))
            return
        forks = []
        for _ in range(most - least):
            forks.append(self._emit(()))
            self._write(part)
        for fork in forks:
            self._program[fork] = (fork + 1, len(self._program))


class _State(dict[str, "_State"]):
    """A set of places in the program at once. As a dict: the state after each known character."""

    __slots__ = ("at_end", "pattern", "places", "verdict")

    def __init__(
        self, pattern: Pattern, places: frozenset[int], matched: bool, at_end: bool
    ) -> None:
        super().__init__()
        self.pattern = pattern
        self.places = places
        self.at_end = at_end  # whether a text that ends here matches
        self.verdict: bool | None = None  # known whatever follows
        if matched:
            self.verdict = True
        elif not places and not at_end:
            self.verdict = False

    def __missing__(self, character: str) -> "_State":
        return self.pattern.step(self, character)
