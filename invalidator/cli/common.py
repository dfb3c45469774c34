"""Helpers that several verbs share: arguments, confirmation, error messages, exit codes."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from invalidator.cli.columns import width, wrapped
from invalidator.errors import ConfigError, InvalidatorError, RulesError
from invalidator.runtime.terminal import printable

if TYPE_CHECKING:
    from invalidator.redisclient import Client
    from invalidator.settings import Settings

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

NOT_CONFIRMED = 4  # exit code
INTERRUPTED = 130  # exit code


class UsageError(InvalidatorError):
    """An argument is wrong in a way that argparse cannot detect."""


def add_rules(parser: argparse.ArgumentParser, *, positional: bool = False) -> None:
    """Add --rules; verbs that are about rules take them without the option, too."""
    said = "rules file or directory; default: INVALIDATOR_RULES, otherwise rules.yaml"
    parser.add_argument("--rules", metavar="PATH", help=said)
    if positional:
        parser.add_argument("path", metavar="RULES", nargs="?", help="the same, without --rules")


def add_settings(parser: argparse.ArgumentParser, *, redis: bool = True) -> None:
    """Add --env-file, and --redis-url for verbs that use a Redis."""
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    if redis:
        parser.add_argument(
            "--redis-url", metavar="URL", help="the Redis to use instead of the configured ones"
        )


def add_json(parser: argparse.ArgumentParser, said: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=said)


def settings_of(args: argparse.Namespace, **more: str | None) -> "Settings":
    """Return the settings, with what the command line says of them."""
    from invalidator.settings import load

    url = getattr(args, "redis_url", None)
    urls = dict.fromkeys(("redis_url", "source_redis_url", "state_url"), url)
    return load(getattr(args, "env_file", None), **{**urls, **more})


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


def rules_path(args: argparse.Namespace) -> Path:
    """Return the path of the rules: the one given, otherwise the one in the settings."""
    given = getattr(args, "path", None) or args.rules
    return Path(given) if given is not None else settings_of(args).rules


def clients(settings: "Settings") -> "dict[str, Client]":
    """Return a client for each Redis that holds a cache, by its name for a person."""
    from invalidator.redisclient import client
    from invalidator.runtime.urls import parse_redis_url, redact
    from invalidator.settings.caches import cache_urls

    urls = [settings.redis_url.get_secret_value(), *cache_urls(settings).values()]
    tls = settings.redis_tls.options()
    servers: dict[object, str] = {}  # a channel reaches all databases of its server
    for url in urls:
        address = parse_redis_url(url)
        servers.setdefault((address.kind, address.hosts, address.path, address.service), url)
    return {redact(url): client(url, settings.redis_timeout, tls) for url in servers.values()}


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


def person() -> str:
    """Return who runs this, for logs: user@host."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


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
    lines = f"invalidator: {message}".splitlines()
    warn("\n".join(part for line in lines for part in _fitting(line)))
    return code


def _fitting(line: str) -> list[str]:
    inside = line[: len(line) - len(line.lstrip())]
    fits = len(line) <= width()
    return [line] if fits else wrapped(line.strip(), indent=f"{inside}  ", first=inside)
