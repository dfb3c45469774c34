"""The admin port: is it alive, is it ready, what does it count."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from invalidator.errors import ConfigError
from invalidator.health import Health


class Admin:
    """A small HTTP server beside the pipelines."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen; the URL."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
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
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        """Progress, not reachability: waiting for a server that is away is progress."""
        stuck = self._health.stuck()
        return web.json_response(
            {"status": "stuck" if stuck else "alive", "stuck": stuck},
            status=503 if stuck else 200,
        )

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting = self._health.waiting()
        parts = {name: waiting.get(name, "ready") for name in self._health.parts}
        return web.json_response(
            {"status": "waiting" if waiting else "ready", "parts": parts},
            status=503 if waiting else 200,
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
