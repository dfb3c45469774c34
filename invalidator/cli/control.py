"""`invalidator status|pause|resume|reload`: query and control a running daemon."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlencode

from invalidator.cli.columns import wrapped
from invalidator.cli.common import (
    UsageError,
    Verbs,
    add_json,
    add_settings,
    as_json,
    person,
    say,
    settings_of,
)

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from invalidator.settings import Settings

Answer: TypeAlias = Mapping[str, Any]

WITHIN: Final = 30.0  # seconds
WATCH_EVERY: Final = 2.0  # seconds
LISTEN_ON_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

_STATUS = """\
examples:
  invalidator status                what it reads, its backlog, what it waits for
  invalidator status --watch        again every two seconds, until interrupted
  invalidator status --json | jq .by_rule
  invalidator status --url http://invalidator:8080

exit codes: 0 it is ready, 1 it is not ready or cannot be reached, 2 the command line or the settings cannot be used
"""  # noqa: E501 - help is wrapped when it is shown
_PAUSE = """\
examples:
  invalidator pause --why "restoring the database"
      the one daemon whose admin port the settings name
  invalidator pause --url http://10.0.0.7:8080
  invalidator pause --all --why "restoring the database"
      every daemon with this state Redis, also those that start later

What was read is still applied, and Kafka and streams keep the rest. HTTP requests wait, and are answered with a receipt. Redis pub/sub keeps nothing: what exceeds INVALIDATOR_PUBSUB__BUFFER is lost, and counted. A restart ends the pause of one daemon, but not the pause of all.

--all needs no admin port and no token: it writes the key invalidator:paused into the Redis of INVALIDATOR_STATE_URL, which all daemons look at every second.
"""  # noqa: E501 - help is wrapped when it is shown
_RESUME = """\
examples:
  invalidator resume                ends the pause of one daemon
  invalidator resume --all          ends the pause of all daemons

Without a pause, it releases the topics that are paused because the rules reject most of their events: what these rules reject goes to the dead letters (docs/dead-letters.md).
"""  # noqa: E501 - help is wrapped when it is shown
_RELOAD = """\
examples:
  invalidator reload                reads the rules now and says whether they are valid

exit codes: 0 they are in force, 1 they are rejected and the previous ones stay in force
"""


def add(verbs: Verbs) -> None:
    status = _add(verbs, "status", "show the status of a running daemon", _STATUS, _status)
    status.add_argument("--watch", action="store_true", help="show it again every two seconds")
    pause = _add(verbs, "pause", "stop reading events for now", _PAUSE, _pause)
    pause.add_argument("--why", metavar="TEXT", default="", help="the reason, shown in the status")
    resume = _add(verbs, "resume", "read events again", _RESUME, _resume)
    for parser in (pause, resume):
        parser.add_argument("--all", action="store_true", help="all daemons with this state Redis")
        parser.add_argument("--redis-url", metavar="URL", help="the state Redis, for --all")
    _add(verbs, "reload", "make a daemon read its rules now", _RELOAD, _reload)


def _add(
    verbs: Verbs, name: str, text: str, epilog: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}, through the admin port. Address and token come "
        "from the settings (INVALIDATOR_ADMIN__HOST, __PORT, __TOKEN).",
        epilog=epilog,
    )
    parser.add_argument("--url", metavar="URL", help="the admin port; default: as in the settings")
    add_settings(parser, redis=False)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def _status(args: argparse.Namespace) -> int:
    from invalidator.cli.status import lines

    while True:
        answer = ask_daemon(args, "GET", "/status")
        if args.watch and not args.json:
            print("\x1b[H\x1b[J" if sys.stdout.isatty() else "", end="")
        print(as_json(answer) if args.json else "\n".join(lines(answer)))
        if not args.watch:
            return int(answer["status"] != "ready")
        sys.stdout.flush()
        time.sleep(WATCH_EVERY)


def _pause(args: argparse.Namespace) -> int:
    if args.all:
        return _everywhere(args, paused=True)
    query = {"why": args.why} if args.why else {}
    answer = ask_daemon(args, "POST", "/pause", query)
    said = f"paused {_who(args, answer)}: it reads no event; --all pauses every daemon"
    _print(args, answer, said)
    return 0


def _resume(args: argparse.Namespace) -> int:
    if args.all:
        return _everywhere(args, paused=False)
    answer = ask_daemon(args, "POST", "/resume")
    _print(args, answer, f"resumed {_who(args, answer)}")
    return 0


def _who(args: argparse.Namespace, answer: Answer) -> str:
    return f"{answer.get('host', 'a daemon')} ({(args.url or _url(settings_of(args))).rstrip('/')})"


def _everywhere(args: argparse.Namespace, *, paused: bool) -> int:
    """Pause or resume all daemons that share a state Redis."""
    import asyncio

    from invalidator.daemon.notices import Notices

    if args.url:
        raise UsageError("--url names one daemon, and --all means every one")

    async def tell() -> tuple[str, bool]:
        notices = Notices.of(settings_of(args))
        try:
            if paused:
                await notices.pause(args.why.strip(), person())
                return notices.server, True
            return notices.server, await notices.resume()
        finally:
            await notices.aclose()

    server, done = asyncio.run(tell())
    answer = {"all": True, "server": server, "status": "paused" if paused else "resumed"}
    if paused:
        said = f"paused all daemons with the state Redis {server}, also those that start later"
    else:
        said = f"resumed all daemons with the state Redis {server}"
        said = said if done else f"nothing to resume: no pause of all daemons in {server}"
    _print(args, answer, said)
    return 0


def _reload(args: argparse.Namespace) -> int:
    answer = ask_daemon(args, "POST", "/reload")
    problems = "".join(f"\n  {problem}" for problem in answer["problems"])
    rejected = f"rejected; {answer['rules']} stays in force:{problems}"
    _print(args, answer, rejected if problems else f"in force: {answer['rules']}")
    return int(bool(problems))


def _print(args: argparse.Namespace, answer: Answer, text: str) -> None:
    fitting = (part for line in text.split("\n") for part in wrapped(line, indent="  ", first=""))
    say(as_json(answer) if args.json else "\n".join(fitting))


# --- the call ---------------------------------------------------------------------------------


def ask_daemon(
    args: argparse.Namespace, method: str, path: str, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the daemon's answer; raise an InvalidatorError that says what to do if it fails."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    from invalidator.errors import InvalidatorError

    settings = settings_of(args)
    url = (args.url or _url(settings)).rstrip("/")
    token = settings.admin.token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token and method == "POST" else {}
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"expected --url http://host:port, found {url}")
    target = f"{url}{path}?{urlencode(query)}" if query else url + path
    try:
        request = urllib.request.Request(target, method=method, headers=headers)  # noqa: S310
        with _directly().open(request, timeout=WITHIN) as answer:
            return _read(answer.read(), url, path)
    except urllib.error.HTTPError as error:
        with error:
            said = _read(error.read(), url, path)
        if "error" not in said:
            return said  # the rules were rejected
        raise InvalidatorError(f"{url}{path}: {said['error']}") from error
    except OSError as error:
        cause = getattr(error, "reason", error)
        reason = str(getattr(cause, "strerror", None) or cause).lower()
        raise InvalidatorError(
            f"{url}: no answer ({reason}). Is the daemon running, and is this its admin port? "
            "Use --url for another address"
        ) from error
    except (HTTPException, ValueError) as error:  # no HTTP, or no URL
        raise InvalidatorError(f"{url}: {type(error).__name__}: {str(error).strip()}") from error


def _directly() -> "OpenerDirector":
    """Return an opener without proxies and redirects: only the daemon may receive the token."""
    from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

    class Straight(HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            """Follow no redirect."""

    return build_opener(ProxyHandler({}), Straight)


def _read(body: bytes, url: str, path: str) -> dict[str, Any]:
    from invalidator.errors import InvalidatorError

    told = {"/reload": "problems", "/freshness": "findings"}.get(path, "status")
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() & {told, "error"}:
        raise InvalidatorError(f"{url}: this is not the admin port of invalidator")
    return found


def _url(settings: "Settings") -> str:
    host = LISTEN_ON_ALL.get(settings.admin.host, settings.admin.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.admin.port}"
