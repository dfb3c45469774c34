"""`invalidator run`: the daemon."""

import argparse
import gc
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from invalidator import __version__
from invalidator.cli.columns import table
from invalidator.cli.common import (
    UsageError,
    Verbs,
    add_rules,
    add_settings,
    report_error,
    say,
    settings_of,
)

if TYPE_CHECKING:
    from invalidator.rules import RuleSet
    from invalidator.settings import Settings

SHOWN: Final = 8  # rules that the welcome lists
THREADS_WITHIN: Final = 2.0  # seconds that a thread in a system call may delay the exit

_EPILOG = """\
examples:
  invalidator run --embedded
      with a Redis of its own, removed when it stops; prints what to paste to see it work
  INVALIDATOR_PUBSUB__CHANNELS=events invalidator run --redis-url redis://cache/0
      reads the channel `events` and deletes keys of the same Redis
  invalidator run --env-file prod.env --rules /etc/invalidator/rules.d
      reads settings and rules from files

On SIGTERM or SIGINT it stops reading, settles what was read and exits. A second signal exits immediately. On a terminal the log is for people, otherwise JSON (INVALIDATOR_LOG__FORMAT).
"""  # noqa: E501 - help is wrapped when it is shown


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "run",
        help="run the daemon",
        description="Reads events and deletes what the rules name, until it is stopped.",
        epilog=_EPILOG,
    )
    parser.add_argument("--embedded", action="store_true", help="try it with a Redis of its own")
    add_rules(parser)
    parser.add_argument(
        "--last-good",
        metavar="PATH",
        help="keep a copy of the last valid rules there, and start from it if the rules are broken",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and plan, but write and commit nothing"
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with ExitStack() as stack:
        gc.disable()  # what is loaded now stays for good; the daemon enables it when it runs
        stack.callback(gc.enable)
        # The daemon installs its own handlers once it runs. Until then SIGTERM ends the start (as
        # process 1 of a container it would be ignored), and SIGHUP (reload) does not.
        for number, handler in ((signal.SIGTERM, _end), (signal.SIGHUP, signal.SIG_IGN)):
            stack.callback(signal.signal, number, signal.signal(number, handler))
        settings = _embedded(args, stack) if args.embedded else _settings(args)
        return _serve(settings, embedded=args.embedded, debug=args.debug)


def _end(*_: object) -> None:
    raise SystemExit(0)


def _settings(args: argparse.Namespace, **more: str) -> "Settings":
    dry = {"dry_run": "true"} if args.dry_run else {}
    given = {"rules": args.rules, "rules_last_good": args.last_good, **dry, **more}
    settings = settings_of(args, **given)
    _expect_rules(settings)
    return settings


def _embedded(args: argparse.Namespace, stack: ExitStack) -> "Settings":
    """Start a Redis of its own, and default to settings that suit a person who tries it."""
    from invalidator.cli.embedded import redis_server
    from invalidator.settings import describe

    if args.redis_url:
        raise UsageError("--redis-url cannot be used with --embedded, which has a Redis of its own")
    args.rules = args.rules or _sample(args)
    _settings(args)  # report mistakes before a server is started
    url = stack.enter_context(redis_server())
    settings = _settings(args, redis_url=url)
    untouched = {entry.name for entry in describe(settings) if entry.origin == "default"}
    wanted = {
        "log__format": "console",
        "log__level": "debug",  # shows each event and what it invalidated
        "admin__port": "0",
        **({} if settings.has_sources else {"pubsub__channels": "events"}),
    }
    more = {name: v for name, v in wanted.items() if f"INVALIDATOR_{name.upper()}" in untouched}
    return _settings(args, redis_url=url, **more)


def _sample(args: argparse.Namespace) -> str | None:
    """Return the path of sample rules where there are none yet."""
    from invalidator.cli.init import SAMPLE
    from invalidator.settings import describe

    settings = settings_of(args, rules_last_good=args.last_good)
    named = any(s.name == "INVALIDATOR_RULES" and s.origin != "default" for s in describe(settings))
    return None if named or settings.rules.exists() else str(SAMPLE / "rules.yaml")


def _expect_rules(settings: "Settings") -> None:
    """Raise ConfigError where the rules are missing, as they are for a first-time user."""
    from invalidator.errors import ConfigError

    if not settings.rules.exists() and not settings.rules_last_good:
        raise ConfigError(
            f"INVALIDATOR_RULES={settings.rules}: there is no such file or directory "
            f"(looked in {Path.cwd()}); name the rules there or by --rules, or begin with "
            "`invalidator init`"
        )


def _serve(settings: "Settings", *, embedded: bool, debug: bool) -> int:
    import asyncio

    from invalidator.daemon.daemon import Daemon
    from invalidator.rules.file.reload import Watcher
    from invalidator.runtime import logs

    logs.configure(settings.log.format, settings.log.level)

    async def serve() -> int:
        daemon = Daemon(settings, Watcher(settings.rules, last_good=settings.rules_last_good))

        def started(admin: str) -> None:
            if embedded:
                _welcome(settings, daemon.in_force.rules, admin)

        try:
            code = await daemon.run(started)
        except Exception as error:
            exit_within(partial(report_error, error, debug=debug))
            raise
        exit_within(lambda: code)
        return code

    def exit_within(end: Callable[[], int]) -> None:
        if not embedded:
            stack.callback(_exit_later(end).cancel)

    with ExitStack() as stack:
        return asyncio.run(serve())


def _exit_later(end: Callable[[], int]) -> threading.Timer:
    """Exit with the code that `end` returns, though a thread still hangs in a system call.

    Everything is closed by then, but Python waits for its threads, and one that resolves a name or
    reads from an unavailable file system cannot be ended.
    """
    timer = threading.Timer(THREADS_WITHIN, lambda: os._exit(end()))
    timer.daemon = True
    timer.start()
    return timer


def _welcome(settings: "Settings", rules: "RuleSet", admin: str) -> None:
    """Print where everything is, a command that shows it working, and what to do next."""
    from invalidator.cli.init import SAMPLE

    url = settings.redis_url.get_secret_value()
    sample = settings.rules == SAMPLE / "rules.yaml"
    say(f"invalidator {__version__} is running; Ctrl-C ends it\n")
    about = [
        ("page", f"{admin}/"),
        ("redis", f"{url}  (its own, without a copy on disk)"),
        ("reads", ", ".join(_sources(settings))),
        ("rules", "samples" if sample else str(settings.rules)),
        *(
            ("", f"{rule.name}: {', '.join(e.text for e in rule.on)}")
            for rule in rules.rules[:SHOWN]
        ),
        *([("", f"and {len(rules.rules) - SHOWN} more")] if len(rules.rules) > SHOWN else []),
    ]
    say("\n".join(table(about, indent="  ")))
    say("\nPaste this into another terminal to see it work:\n")
    print(f"{_try_it(settings, rules, url)}\n")
    say("Then:")
    edit = "invalidator init DIR, and run it there" if sample else f"{settings.rules}, which is "
    edit += "" if sample else "loaded when you save it"
    steps = [
        ("watch", shlex.join([*_program(), "tail"]) + " \\"),
        ("", f"  --redis-url {url}"),
        ("edit rules", edit),
        ("look", f"the page, {admin}/"),
    ]
    say("\n".join(table(steps, indent="  ")))
    print(flush=True)


def _sources(settings: "Settings") -> list[str]:
    return [
        *(f"channel {name}" for name in settings.pubsub.channels),
        *(f"sharded channel {name}" for name in settings.pubsub.sharded_channels),
        *(f"stream {name}" for name in settings.streams.keys),
        *(f"Kafka topic {name}" for name in settings.kafka.topics),
        *(f"POST /{name} on port {settings.http.port}" for name in settings.http.routes),
    ]


def _program() -> list[str]:
    """Return how this program was called, for a terminal in which no environment is active."""
    program = Path(sys.argv[0]).resolve()
    return [str(program)] if program.suffix != ".py" else [sys.executable, "-m", "invalidator"]


def _try_it(settings: "Settings", rules: "RuleSet", url: str) -> str:
    """Return a command that caches an entry and publishes an event that makes it stale."""
    data = {"orderId": "ord_1", "customerId": "cust_7"}
    kind, key = _example(rules, data)
    stream = settings.streams.keys[:1] if not settings.pubsub.channels else ()
    lines = [
        [*_program(), "publish", kind],
        [json.dumps(data)],
        ["--set", f"{key}=cached"] if key else ["--wait"],
        ["--redis-url", url, *(word for name in stream for word in ("--stream", name))],
        ["--rules", str(settings.rules.resolve())],
    ]
    return " \\\n  ".join(map(shlex.join, lines))


def _example(rules: "RuleSet", data: dict[str, str]) -> tuple[str, str]:
    """Return an event type that the rules match, and a key that it would delete."""
    from invalidator.model import Record

    named = [entry.text for rule in rules.rules for entry in rule.on if entry.literal]
    for kind in ["order.updated", *named]:
        raw = json.dumps({"type": kind, "data": data}).encode()
        told = rules.explain(Record("example", "events", "", raw))
        for verdict in told.verdicts:
            for name in verdict.names:
                if name.kind == "keys":
                    return kind, name.name
    return (named or ["order.updated"])[0], ""
