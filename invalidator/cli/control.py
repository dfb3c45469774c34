"""`invalidator status|pause|resume|reload`: ask a daemon that runs, or steer it."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from invalidator.cli.common import UsageError, Verbs

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from invalidator.settings import Settings

WITHIN: Final = 30.0  # seconds
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what it listens on

_STATUS = """\
examples:
  invalidator status                     what it reads, how far it is behind, what it waits for
  invalidator status --json | jq .by_rule
  invalidator status --url http://invalidator:8080

exit codes: 0 it is ready, 1 it is not, or cannot be reached, 2 the command line or the settings
cannot be used
"""
_PAUSE = """\
examples:
  invalidator pause --why "restoring the database"
  INVALIDATOR_ADMIN__TOKEN=... invalidator pause --url http://10.0.0.7:8080

What was read goes its way, Kafka and streams keep the rest. Redis pub/sub does not: what comes on
top of INVALIDATOR_PUBSUB__BUFFER is lost, and counted. A restart ends the pause.
"""
_RESUME = """\
examples:
  invalidator resume                     ends a pause

Without a pause, it lets go the topics that are held because rules reject most of their events: what
these rules reject of them goes to the dead letters (docs/dead-letters.md).
"""
_RELOAD = """\
examples:
  invalidator reload                     reads the rules now, and says whether they are in order

exit codes: 0 they are in force, 1 they are not, and those before stay
"""


def add(verbs: Verbs) -> None:
    _add(verbs, "status", "ask a daemon that runs how it is", _STATUS, _status)
    pause = _add(verbs, "pause", "let no event in for now", _PAUSE, _pause)
    pause.add_argument("--why", metavar="TEXT", default="", help="for all who look")
    _add(verbs, "resume", "let events in again", _RESUME, _resume)
    _add(verbs, "reload", "make a daemon read its rules now", _RELOAD, _reload)


def _add(
    verbs: Verbs, name: str, text: str, epilog: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}, through its admin port. Address and token are "
        "those of the settings (INVALIDATOR_ADMIN__HOST, __PORT, __TOKEN).",
        epilog=epilog,
    )
    parser.add_argument("--url", metavar="URL", help="the admin port, if not that of the settings")
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.add_argument("--json", action="store_true", help="what the daemon answers, as it is")
    parser.set_defaults(run=run)
    return parser


def _status(args: argparse.Namespace) -> int:
    from invalidator.cli.status_text import lines

    answer = _ask(args, "GET", "/status")
    print(_json(answer) if args.json else "\n".join(lines(answer)))
    return int(answer["status"] != "ready")


def _pause(args: argparse.Namespace) -> int:
    query = {"why": args.why} if args.why else {}
    return _told(args, _ask(args, "POST", "/pause", query), "paused: no event is read")


def _resume(args: argparse.Namespace) -> int:
    return _told(args, _ask(args, "POST", "/resume"), "resumed")


def _reload(args: argparse.Namespace) -> int:
    answer = _ask(args, "POST", "/reload")
    problems = "".join(f"\n  {problem}" for problem in answer["problems"])
    said = f"refused; {answer['rules']} stays in force:{problems}"
    _told(args, answer, said if problems else f"in force: {answer['rules']}")
    return int(bool(problems))


def _told(args: argparse.Namespace, answer: Mapping[str, Any], said: str) -> int:
    print(_json(answer) if args.json else said)
    return 0


def _json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, indent=2)


def _ask(
    args: argparse.Namespace, method: str, path: str, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The daemon's answer; a refusal, or nobody there, is an error that says what to do."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    from invalidator.errors import InvalidatorError
    from invalidator.settings import load

    settings = load(args.env_file)
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
            return said  # the rules were refused
        raise InvalidatorError(f"{url}{path}: {said['error']}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise InvalidatorError(
            f"{url}: nobody answers ({reason}). Does the daemon run, and is this its admin port? "
            "--url names another"
        ) from error
    except (HTTPException, ValueError) as error:  # no HTTP, or no URL
        raise InvalidatorError(f"{url}: {type(error).__name__}: {str(error).strip()}") from error


def _directly() -> "OpenerDirector":
    """By no proxy, and not to where others point: the token is for the daemon alone."""
    from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

    class Straight(HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            """A call that became another one was not made."""

    return build_opener(ProxyHandler({}), Straight)


def _read(body: bytes, url: str, path: str) -> dict[str, Any]:
    from invalidator.errors import InvalidatorError

    told = "problems" if path == "/reload" else "status"
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() & {told, "error"}:
        raise InvalidatorError(f"{url}: answers, but not as the admin port of invalidator does")
    return found


def _url(settings: "Settings") -> str:
    host = EVERYWHERE.get(settings.admin.host, settings.admin.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.admin.port}"
