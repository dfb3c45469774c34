"""The HTTP server of the daemon. It answers from what is known, and waits for no other server."""

import asyncio
import contextlib
import gzip
import resource
import socket
from collections.abc import AsyncGenerator
from importlib.resources import files
from itertools import islice
from typing import Any, Final

import orjson
from msgspec.structs import replace
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder, gzip_accepted

from invalidator.admin.control import Calls, Control
from invalidator.admin.guard import HEADERS, guarding
from invalidator.admin.history import History
from invalidator.admin.rates import look_regularly
from invalidator.admin.status import DaemonView, findings, rules_in_force, status
from invalidator.errors import ConfigError
from invalidator.model import Record
from invalidator.pipeline.tail import Watcher
from invalidator.runtime.http import Handler, Limits, Request, Response, Server, as_json, said
from invalidator.settings import Settings

ALL_RULES: Final = 200  # up to so many, rules that do not match are explained, too
MOST_NAMES: Final = 500  # that an explanation shows
MOST_VERDICTS: Final = 1000  # a list of events has one for each of them and each rule
MOST_CONNECTIONS: Final = 128
SHARE: Final = 0.25  # of the process's descriptors
MOST_WATCHERS: Final = 4
SIGN_OF_LIFE: Final = 15.0  # seconds without an event, then a comment shows who has gone
QUICK: Final = 1  # gzip's fastest level: repeated names shrink well at any
STOP_WITHIN: Final = 1.0  # seconds that open calls have when the daemon ends
JSON: Final = "application/json"
TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


class Admin:
    """Serves probes, metrics, status, a page for people, and calls that control the daemon."""

    def __init__(self, view: DaemonView, control: Control, settings: Settings) -> None:
        self._view = view
        self._history = History(lambda: view.lag())
        self._host = settings.admin.host
        self._port = settings.admin.port
        self._names = {self._host, socket.gethostname(), *settings.admin.hosts}
        self._calls = Calls(control, settings.admin.token)
        self._explaining = asyncio.Lock()
        self._watchers = 0
        self._largest = settings.batch.max_event_bytes
        self._server: Server | None = None
        self._rates: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the URL."""
        guard = guarding(self._names)
        self._server = Server(
            self._routes(),
            guard=lambda request: guard(request) or self._calls.refusal(request),
            headers=HEADERS,
            limits=Limits(
                body=self._largest,
                too_large=f"larger than INVALIDATOR_BATCH__MAX_EVENT_BYTES={self._largest}",
                connections=_connections(),
            ),
        )
        try:
            host, port = await self._server.start(self._host, self._port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
            raise ConfigError(
                f"INVALIDATOR_ADMIN__HOST={self._host}, INVALIDATOR_ADMIN__PORT={self._port}: "
                f"cannot listen there: {getattr(error, 'strerror', None) or error}. "
                "Choose another port (0 picks a free one) or an address of this machine."
            ) from error
        self._rates = asyncio.create_task(
            look_regularly(self._view.rates.look, self._history.look), name="admin-rates"
        )
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._rates:
            self._rates.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rates
        if self._server:
            await self._server.stop(STOP_WITHIN)

    def _routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/livez"): self._livez,
            ("GET", "/readyz"): self._readyz,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/status"): self._status,
            ("GET", "/rules"): self._rules,
            ("GET", "/freshness"): self._freshness,
            ("GET", "/history"): self._past,
            ("GET", "/tail"): self._tail,
            ("POST", "/explain"): self._explain,
            **self._calls.routes(),
            ("GET", "/"): _file("page.html"),
            ("GET", "/page.css"): _file("page.css"),
            ("GET", "/page.js"): _file("page.js"),
            ("GET", "/page.svg"): _file("page.svg"),
            ("GET", "/plots.js"): _file("plots.js"),
        }

    async def _livez(self, _: Request) -> Response:
        """Report progress, not reachability: waiting for an unavailable server is progress."""
        stuck = self._view.health.stuck()
        return as_json(
            {"status": "stuck" if stuck else "alive", "stuck": stuck},
            status=503 if stuck else 200,
        )

    async def _readyz(self, _: Request) -> Response:
        waiting = self._view.health.waiting()
        parts = {name: waiting.get(name, "ready") for name in self._view.health.parts}
        return as_json(
            {"status": "waiting" if waiting else "ready", "parts": parts},
            status=503 if waiting else 200,
        )

    async def _metrics(self, request: Request) -> Response:
        encode, kind = choose_encoder(request.header("accept"))
        headers = {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"}
        if not gzip_accepted(request.header("accept-encoding")):
            return Response(200, encode(REGISTRY), headers)
        body = gzip.compress(encode(REGISTRY), QUICK)
        return Response(200, body, headers | {"Content-Encoding": "gzip"})

    async def _status(self, _: Request) -> Response:
        return _json(status(self._view))

    async def _rules(self, _: Request) -> Response:
        return _json(rules_in_force(self._view))

    async def _freshness(self, _: Request) -> Response:
        return _json(findings(self._view))

    async def _past(self, _: Request) -> Response:
        return Response(200, orjson.dumps(self._history.plain()), {"Content-Type": JSON})

    async def _tail(self, _: Request) -> Response:
        """Stream what is applied, as server-sent events."""
        if self._watchers >= MOST_WATCHERS:
            return said(429, f"{MOST_WATCHERS} others watch already; try again later")
        headers = {"Content-Type": "text/event-stream"}
        return Response(200, headers=headers, stream=self._told())

    async def _told(self) -> AsyncGenerator[bytes, None]:
        watcher: Watcher = asyncio.Queue()
        tails = [pipeline.tail for pipeline in self._view.pipelines]
        self._watchers += 1
        for tail in tails:
            tail.watchers.add(watcher)
        try:
            while True:
                try:
                    async with asyncio.timeout(SIGN_OF_LIFE):
                        told = await watcher.get()
                except TimeoutError:
                    yield b": still here\n\n"
                else:
                    yield b"data: " + orjson.dumps(told) + b"\n\n"
        finally:
            self._watchers -= 1
            for tail in tails:
                tail.watchers.discard(watcher)

    async def _explain(self, request: Request) -> Response:
        """Explain what the rules in force do with an event. Nothing is invalidated.

        Anybody may ask: so one at a time, rule by rule, with an answer of bounded size.
        """
        if self._explaining.locked():
            return said(
                429, "another event is being explained; try again", headers={"Retry-After": "1"}
            )
        async with self._explaining:
            rules = self._view.rules
            record = Record("explain", request.query.get("source", ""), "", request.body)
            explained, verdicts = rules.explain_by_rule(
                record, only_matching=len(rules.rules) > ALL_RULES
            )
            shown, left, omitted = [], MOST_NAMES, 0
            for verdict in islice(verdicts, MOST_VERDICTS):
                few = verdict.names[:left]
                shown.append(replace(verdict, names=few))
                left -= len(few)
                omitted += len(verdict.names) - len(few)
                await asyncio.sleep(0)
            plain = replace(explained, verdicts=tuple(shown)).plain()
            more = {"names_omitted": omitted} if omitted else {}
            return _json({"rules_hash": rules.hash, **plain, **more})


def _connections() -> int:
    """Return how many connections may be open: sources and caches need descriptors, too."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, int(descriptors * SHARE)))


def _json(plain: dict[str, Any]) -> Response:
    body = orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Response(200, body, {"Content-Type": JSON})


def _file(name: str) -> Handler:
    """Return the handler of one file of the page, from the package."""
    body = (files("invalidator.admin") / name).read_bytes()
    kind = f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8"

    async def give(_: Request) -> Response:
        return Response(200, body, {"Content-Type": kind})

    return give
