"""`invalidator status|pause|resume|reload`: query and control a running daemon."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlencode

from invalidator.cli.common import UsageError, Verbs, as_json, say

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from invalidator.settings import Settings

Answer: TypeAlias = Mapping[str, Any]

WITHIN: Final = 30.0  # seconds
LISTEN_ON_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

_STATUS = """\
examples:
  invalidator status                     what it reads, its backlog, what it waits for
  invalidator status --json | jq .by_rule
  invalidator status --url http://invalidator:8080

exit codes: 0 it is ready, 1 it is not ready or cannot be reached, 2 the command line or the
settings cannot be used
"""
_PAUSE = """\
examples:
  invalidator pause --why "restoring the database"
  INVALIDATOR_ADMIN__TOKEN=... invalidator pause --url http://10.0.0.7:8080

What was read is still applied, and Kafka and streams keep the rest. Redis pub/sub does not: what
exceeds INVALIDATOR_PUBSUB__BUFFER is lost, and counted. A restart ends the pause.
"""
_RESUME = """\
examples:
  invalidator resume                     ends a pause

Without a pause, it releases the topics that are paused because the rules reject most of their
events: what these rules reject goes to the dead letters (docs/dead-letters.md).
"""
_RELOAD = """\
examples:
  invalidator reload                     reads the rules now and reports whether they are valid

exit codes: 0 they are in force, 1 they are rejected and the previous ones stay in force
"""


def add(verbs: Verbs) -> None:
    _add(verbs, "status", "show the status of a running daemon", _STATUS, _status)
    pause = _add(verbs, "pause", "stop reading events for now", _PAUSE, _pause)
    pause.add_argument("--why", metavar="TEXT", default="", help="the reason, shown in the status")
    _add(verbs, "resume", "read events again", _RESUME, _resume)
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
    parser.add_argument("--env-file", metavar="PATH", help="file of NAME=value settings")
    parser.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")
    parser.set_defaults(run=run)
    return parser


def _status(args: argparse.Namespace) -> int:
    answer = _ask(args, "GET", "/status")
    _print(args, answer, "\n".join(_lines(answer)))
    return int(answer["status"] != "ready")


def _pause(args: argparse.Namespace) -> int:
    query = {"why": args.why} if args.why else {}
    _print(args, _ask(args, "POST", "/pause", query), "paused: no event is read")
    return 0


def _resume(args: argparse.Namespace) -> int:
    _print(args, _ask(args, "POST", "/resume"), "resumed")
    return 0


def _reload(args: argparse.Namespace) -> int:
    answer = _ask(args, "POST", "/reload")
    problems = "".join(f"\n  {problem}" for problem in answer["problems"])
    rejected = f"rejected; {answer['rules']} stays in force:{problems}"
    _print(args, answer, rejected if problems else f"in force: {answer['rules']}")
    return int(bool(problems))


def _print(args: argparse.Namespace, answer: Answer, text: str) -> None:
    say(as_json(answer) if args.json else text)


# --- the call ---------------------------------------------------------------------------------


def _ask(
    args: argparse.Namespace, method: str, path: str, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the daemon's answer; raise an InvalidatorError that says what to do if it fails."""
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
            return said  # the rules were rejected
        raise InvalidatorError(f"{url}{path}: {said['error']}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
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

    told = "problems" if path == "/reload" else "status"
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


# --- the status as text -----------------------------------------------------------------------


def _lines(status: Answer) -> Iterator[str]:
    rules = status["rules"]
    yield f"{status['status']}  invalidator {status['version']}, since {status['started_at']}"
    yield from (f"  waits for {part}: {why}" for part, why in status["waiting"].items())
    yield from (f"  makes no progress: {name}" for name in status["stuck"])
    if status["dry_run"]:
        yield "  dry run: nothing is written"
    yield f"rules    {rules['hash']}, {rules['count']} of {rules['path']}, {rules['loaded_at']}"
    yield from (f"  not in force: {problem}" for problem in rules["rejected"])
    for source in status["sources"]:
        yield f"source   {source['name']:8} {_source(source)}"
    for cache in status["caches"]:
        servers = ", ".join(cache["servers"])
        yield f"cache    {cache['name']:8} {servers}  {cache['waiting'] or 'ready'}"
    sweeps = status["sweeps"]
    yield (
        f"sweeps   {sweeps['running']:g} running, {sweeps['patterns_waiting']} patterns waiting, "
        f"{status['tickets']} batches waiting"
    )
    entries = status["dead_letters"]["entries"]
    yield f"dead letters  {'unknown' if entries is None else f'{entries:g}'}"
    for rule in status["by_rule"]:
        if rule["events"]:
            yield f"rule     {rule['rule']}: {_rule(rule)}"


def _source(source: Answer) -> str:
    rates = source["events_per_second"]
    flow = ", ".join(f"{rate:g}/s {outcome}" for outcome, rate in rates.items())
    lag = "lag unknown" if source["lag"] is None else f"lag {source['lag']}"
    oldest = f"oldest {source['oldest_unsettled_seconds']:g} s"
    return ", ".join(filter(None, [source["waiting"] or "ready", flow, lag, oldest]))


def _rule(rule: Answer) -> str:
    said = f"about {rule['events']:,.0f} events, {rule['events_per_second']:g}/s"
    if rule["looked_up"]:
        share = rule["existed"] / rule["looked_up"]
        said += f"; {share:.0%} of {rule['looked_up']} sampled names existed"
    return said
