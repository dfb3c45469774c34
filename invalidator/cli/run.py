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

from invalidator.cli.common import Verbs
from invalidator.cli.mistakes import tell

if TYPE_CHECKING:
    from invalidator.rules import RuleSet
    from invalidator.settings import Settings

THREADS_WITHIN: Final = 2.0  # seconds that a thread in a call of the system holds up the end

_EPILOG = """\
examples:
  invalidator run --embedded
      on a Redis of its own, which is gone when it ends; prints what to paste to see it work
  INVALIDATOR_REDIS_URL=redis://cache:6379/0 INVALIDATOR_PUBSUB__CHANNELS=events invalidator run
      events from the channel `events`, entries of the same Redis
  invalidator run --env-file prod.env --rules /etc/invalidator/rules.d
      everything from files

SIGTERM or SIGINT: stops reading, settles what was read, ends. A second one ends at once.
"""


def add(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "run",
        help="run the daemon",
        description="Reads events and deletes what the rules name, until it is told to stop.",
        epilog=_EPILOG,
    )
    parser.add_argument("--embedded", action="store_true", help="start a Redis of its own to try")
    parser.add_argument("--rules", metavar="PATH", help="rules file or directory")
    parser.add_argument(
        "--last-good",
        metavar="PATH",
        help="keep a copy of the last good rules there, and start from it where RULES is broken",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and plan, but write and commit nothing"
    )
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    with ExitStack() as stack:
        gc.disable()  # nothing that is loaded now ever goes; once it runs, the daemon turns it on
        stack.callback(gc.enable)
        # Until the daemon listens itself. As process 1 of a container it would not even hear it.
        early = Early()
        # "Read the rules again" says nothing to one that has not read them, and would end it.
        for number, heard in ((signal.SIGTERM, early), (signal.SIGHUP, signal.SIG_IGN)):
            stack.callback(signal.signal, number, signal.signal(number, heard))
        settings = _embedded(args, stack, early) if args.embedded else _settings(args)
        return _serve(settings, early, embedded=args.embedded, debug=args.debug)


class Early:
    """A SIGTERM during the start ends it: nothing was read yet."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self, *_: object) -> None:
        self._came = True
        self.check()

    def check(self) -> None:
        """Python drops what is raised within a weak reference's callback, and imports have some."""
        if self._came:
            raise SystemExit(0)


def _settings(args: argparse.Namespace, **more: str) -> "Settings":
    from invalidator.settings import load

    given = {"rules": args.rules, "rules_last_good": args.last_good}
    if args.dry_run:
        given["dry_run"] = "true"
    settings = load(args.env_file, **given, **more)
    _expect_rules(settings)
    return settings


def _embedded(args: argparse.Namespace, stack: ExitStack, early: Early) -> "Settings":
    """The Redis of its own; and what a person who tries it wants, where they set nothing."""
    from invalidator.cli.embedded import redis_server
    from invalidator.settings import describe

    _settings(args)  # a mistake is said before a server is started
    url = stack.enter_context(redis_server(early.check))
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


def _expect_rules(settings: "Settings") -> None:
    """Who runs it for the first time has none, and cannot know yet where they belong."""
    from invalidator.errors import ConfigError

    if not settings.rules.exists() and not settings.rules_last_good:
        raise ConfigError(
            f"INVALIDATOR_RULES={settings.rules}: there is no such file or directory "
            f"(looked in {Path.cwd()}); say where the rules are, there or by --rules"
        )


def _serve(settings: "Settings", early: Early, *, embedded: bool, debug: bool) -> int:
    import asyncio

    from invalidator.daemon.daemon import Daemon
    from invalidator.rules.file.reload import Watcher
    from invalidator.runtime import logs

    logs.configure(settings.log.format, settings.log.level)

    async def serve() -> int:
        daemon = Daemon(settings, Watcher(settings.rules, last_good=settings.rules_last_good))
        early.check()

        def started(admin: str) -> None:
            early.check()  # from now on the daemon listens itself
            if embedded:
                _welcome(settings, daemon.in_force.rules, admin)

        try:
            code = await daemon.run(started)
        except Exception as error:
            leave_by(partial(tell, error, debug=debug))
            raise
        leave_by(lambda: code)
        return code

    def leave_by(end: Callable[[], int]) -> None:
        if not embedded:
            stack.callback(_leaving(end).cancel)

    with ExitStack() as stack:
        return asyncio.run(serve())


def _leaving(end: Callable[[], int]) -> threading.Timer:
    """All is closed, but Python waits for threads, and nobody can end one that looks a name up, or
    reads from a file system that is away. `end` says what is to be said, and gives the exit code.
    """
    leaving = threading.Timer(THREADS_WITHIN, lambda: os._exit(end()))
    leaving.daemon = True
    leaving.start()
    return leaving


def _welcome(settings: "Settings", rules: "RuleSet", admin: str) -> None:
    url = settings.redis_url.get_secret_value()
    print(f"Redis    {url}  (its own; gone when this ends)")
    print(f"reads    {', '.join(_sources(settings))}")
    print(f"admin    {admin}/readyz")
    print(f"rules    {settings.rules}, {rules.hash}")
    for rule in rules.rules:
        print(f"           {rule.name}: on {', '.join(entry.text for entry in rule.on)}")
    print("\nPaste this into another terminal to see it work:\n")
    print(f"  {_try_it(settings, rules, url)}\n", flush=True)


def _sources(settings: "Settings") -> list[str]:
    return [
        *(f"channel {name}" for name in settings.pubsub.channels),
        *(f"sharded channel {name}" for name in settings.pubsub.sharded_channels),
        *(f"stream {name}" for name in settings.streams.keys),
        *(f"Kafka topic {name}" for name in settings.kafka.topics),
    ]


def _try_it(settings: "Settings", rules: "RuleSet", url: str) -> str:
    """A cached order and the event that makes it stale; with these rules if they know orders."""
    program = Path(sys.argv[0]).resolve()
    call = [str(program)] if program.suffix != ".py" else [sys.executable, "-m", "invalidator"]
    data = {"orderId": "ord_1", "customerId": "cust_7"}
    kind, key = _example(rules, data)
    words = [*call, "publish", kind, json.dumps(data)]
    if key:
        words += ["--set", f"{key}=cached"]
    if settings.streams.keys and not settings.pubsub.channels:
        words += ["--stream", settings.streams.keys[0]]
    return shlex.join([*words, "--redis-url", url])


def _example(rules: "RuleSet", data: dict[str, str]) -> tuple[str, str]:
    """A type of event that the rules take, and a key that it would delete."""
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
