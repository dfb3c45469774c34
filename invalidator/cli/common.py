"""Helpers that several verbs share: arguments, confirmation, error messages, exit codes."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from invalidator.errors import ConfigError, InvalidatorError, RulesError
from invalidator.runtime.terminal import printable

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

NOT_CONFIRMED = 4  # exit code
INTERRUPTED = 130  # exit code


class UsageError(InvalidatorError):
    """An argument is wrong in a way that argparse cannot detect."""


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the RULES argument of verbs that work on a rules file."""
    parser.add_argument(
        "rules",
        metavar="RULES",
        nargs="?",
        help="file or directory; default: INVALIDATOR_RULES, otherwise rules.yaml",
    )


def content(argument: str) -> bytes:
    """Return the argument itself; of `@FILE` the file, and of `-` stdin."""
    if argument == "-":
        return sys.stdin.buffer.read()
    if not argument.startswith("@"):
        return os.fsencode(argument)
    try:
        return Path(argument[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"{argument[1:]}: cannot be read: {error.strerror}") from None


def whole(minimum: int) -> Callable[[str], int]:
    """Return the type of arguments that are whole numbers from this one on."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < minimum:
            said = f"expected a whole number from {minimum}, found {text!r}"
            raise argparse.ArgumentTypeError(said)
        return int(text)

    return number


def pair(option: str, text: str) -> tuple[str, str]:
    """Return the name and the value of an option such as `--header NAME=VALUE`."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        kind = "KEY" if option == "--set" else "NAME"
        raise UsageError(f"{option} takes {kind}=VALUE, found {text!r}")
    return name, value


def rules_path(given: str | None) -> Path:
    """Return the path of the rules: the one given, otherwise the one in the settings."""
    if given is not None:
        return Path(given)
    from invalidator.settings import load

    return load(None).rules


def say(text: str) -> None:
    """Print to stdout; what others wrote must not control the terminal."""
    print(printable(text))


def warn(text: str) -> None:
    """Print to stderr, after everything that went to stdout."""
    sys.stdout.flush()
    print(printable(text), file=sys.stderr)


def as_json(found: object, *, indent: int | None = 2) -> str:
    """Return JSON in ASCII and without control characters, including DEL, which JSON permits."""
    return json.dumps(found, indent=indent).replace("\x7f", "\\u007f")


def plural(count: int, what: str) -> str:
    """Return a count with its noun, such as `1,151 keys`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def confirmed(question: str) -> bool:
    """Ask for confirmation; anything but yes means no, and Ctrl-C ends the process immediately.

    asyncio would handle Ctrl-C only after the answer.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def report_error(error: Exception, *, debug: bool) -> int:
    """Print the error for a person and return the exit code."""
    if debug:
        import traceback

        traceback.print_exception(error)
    match error:
        case ConfigError():
            return _fail(f"the settings cannot be used:\n{_indented(error)}", 2)
        case RulesError():
            return _fail(f"the rules cannot be used:\n{_indented(error)}", 2)
        case UsageError():
            return _fail(str(error), 2)
        case InvalidatorError():
            return _fail(str(error), 1)
    more = "" if debug else "\nrun with --debug for the traceback"
    return _fail(f"unexpected {type(error).__name__}: {error}{more}", 1)


def _indented(error: Exception) -> str:
    return "\n".join(f"  {line}" for line in str(error).splitlines())


def _fail(message: str, code: int) -> int:
    warn(f"invalidator: {message}")
    return code
