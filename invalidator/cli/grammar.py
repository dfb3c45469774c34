"""The command line as data, read off argparse itself: what shells need to complete it."""

import argparse
from collections.abc import Iterator

from msgspec import Struct

_PATHS = {"PATH", "RULES"}  # metavars of what is a file or directory


class Word(Struct, frozen=True):
    """An option, or an argument without one."""

    flags: tuple[str, ...]  # none: it is an argument
    help: str
    takes: str  # what to call its value; empty: it has none
    choices: tuple[str, ...]
    path: bool
    repeats: bool


class Verb(Struct, frozen=True):
    name: str  # empty: the program itself
    help: str
    words: tuple[Word, ...]

    @property
    def options(self) -> list[Word]:
        return [word for word in self.words if word.flags]

    @property
    def arguments(self) -> list[Word]:
        return [word for word in self.words if not word.flags]


def grammar(parser: argparse.ArgumentParser) -> tuple[Verb, list[Verb]]:
    """What stands before the verb, and the verbs."""
    own = [_word(action) for action in parser._actions if not _parsers(action)]
    program = Verb("", parser.description or "", tuple(own))
    return program, [verb for action in parser._actions for verb in _verbs(action)]


def _parsers(action: argparse.Action) -> dict[str, argparse.ArgumentParser]:
    return dict(action.choices) if isinstance(action, argparse._SubParsersAction) else {}


def _verbs(action: argparse.Action) -> Iterator[Verb]:
    helps = {choice.dest: choice.help or "" for choice in getattr(action, "_choices_actions", ())}
    for name, parser in _parsers(action).items():
        words = {(word.flags, word.takes): word for word in _words(parser)}
        yield Verb(name, helps.get(name, ""), tuple(words.values()))


def _words(parser: argparse.ArgumentParser) -> Iterator[Word]:
    """Of a verb that has verbs of its own, theirs as well."""
    for action in parser._actions:
        yield _word(action)
        for inner in _parsers(action).values():
            yield from _words(inner)


def _word(action: argparse.Action) -> Word:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    valued = action.nargs != 0
    return Word(
        tuple(action.option_strings),
        (action.help or "").partition(";")[0],
        metavar if valued else "",
        tuple(map(str, action.choices or ())),
        valued and metavar in _PATHS,
        isinstance(action, argparse._AppendAction),
    )
