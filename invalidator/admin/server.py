"""The HTTP server beside the pipelines. It answers from what is known, and waits for no server."""

import asyncio
import contextlib
import socket
from importlib.resources import files
from typing import Any, Final

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from invalidator.admin.control import Calls, Control, said
from invalidator.admin.guard import add_headers, guarding
from invalidator.admin.status import House, rules_in_force, status
from invalidator.errors import ConfigError
from invalidator.http import web
from invalidator.model import Record
from invalidator.settings import Settings

ALL_RULES: Final = 200  # up to so many, those are explained too that do not match
STOP_WITHIN: Final = 1.0  # seconds that calls in work have left when the daemon ends
TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


class Admin:
    """Probes and metrics for machines, status and a page for people, and calls that steer."""

    def __init__(self, house: House, control: Control, settings: Settings) -> None:
        self._house = house
        self._host = settings.admin.host
        self._port = settings.admin.port
        self._names = {self._host, socket.gethostname(), *settings.admin.hosts}
        self._calls = Calls(control, settings.admin.token)
        self._largest = settings.batch.max_event_bytes
        self._runner: web.AppRunner | None = None
        self._rates: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; the URL."""
        app = web.Application(
            middlewares=[guarding(self._names)], client_max_size=self._largest + 1
        )
        app.on_response_prepare.append(add_headers)
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status),
                web.get("/rules", self._rules),
                web.post("/explain", self._explain),
                *self._calls.routes(),
                web.get("/", _file("page.html")),
                web.get("/page.css", _file("page.css")),
                web.get("/page.js", _file("page.js")),
                web.get("/page.svg", _file("page.svg")),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_WITHIN)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
            raise ConfigError(
                f"INVALIDATOR_ADMIN__HOST={self._host}, INVALIDATOR_ADMIN__PORT={self._port}: "
                f"cannot listen there: {getattr(error, 'strerror', None) or error}. "
                "Choose another port (0 picks a free one) or an address of this machine."
            ) from error
        self._rates = asyncio.create_task(self._house.rates.run(), name="admin-rates")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._rates:
            self._rates.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rates
        if self._runner:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        """Progress, not reachability: waiting for a server that is away is progress."""
        stuck = self._house.health.stuck()
        return web.json_response(
            {"status": "stuck" if stuck else "alive", "stuck": stuck},
            status=503 if stuck else 200,
        )

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting = self._house.health.waiting()
        parts = {name: waiting.get(name, "ready") for name in self._house.health.parts}
        return web.json_response(
            {"status": "waiting" if waiting else "ready", "parts": parts},
            status=503 if waiting else 200,
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, _: web.Request) -> web.Response:
        return _json(status(self._house))

    async def _rules(self, _: web.Request) -> web.Response:
        return _json(rules_in_force(self._house))

    async def _explain(self, request: web.Request) -> web.Response:
        """What the rules in force make of an event. Nothing is invalidated."""
        raw = await request.read()
        if len(raw) > self._largest:
            return said(413, f"larger than INVALIDATOR_BATCH__MAX_EVENT_BYTES={self._largest}")
        rules = self._house.rules
        record = Record("explain", request.query.get("source", ""), "", raw)
        told = rules.explain(record, only_matching=len(rules.rules) > ALL_RULES)
        return _json({"rules_hash": rules.hash, **told.plain()})


def _json(plain: dict[str, Any]) -> web.Response:
    body = orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, content_type="application/json")


def _file(name: str) -> Any:
    """A part of the page, from the package."""
    body = (files("invalidator.admin") / name).read_bytes()
    kind = TYPES[name.rpartition(".")[2]]

    async def give(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return give
