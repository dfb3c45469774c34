"""A server that issues tokens, or refuses to."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from aiohttp import web

from invalidator.settings.security import Sasl

CLIENT, SECRET = "invalidator", "hush: 50% &more"


@dataclass
class TokenServer:
    """Asked `asked` times so far; `answer`, where there is one, is given instead of a token."""

    url: str = ""
    answer: tuple[int, str] | None = None
    life: float = 3600.0
    asked: list[dict[str, str]] = field(default_factory=list)

    async def give(self, request: web.Request) -> web.Response:
        word, _, encoded = request.headers["Authorization"].partition(" ")
        client, _, secret = base64.b64decode(encoded).decode().partition(":")
        form = await request.post()
        login = {"as": word, "client": unquote_plus(client), "secret": unquote_plus(secret)}
        self.asked.append(login | {name: str(value) for name, value in form.items()})
        if self.answer:
            return web.Response(status=self.answer[0], text=self.answer[1])
        return web.json_response({"access_token": unsigned(self.life), "expires_in": self.life})

    def settings(self, **more: object) -> Sasl:
        return Sasl.model_validate(
            {
                "mechanism": "oauthbearer",
                "token_url": self.url,
                "client_id": CLIENT,
                "client_secret": SECRET,
                "allow_unencrypted": True,
                **more,
            }
        )


def unsigned(life: float) -> str:
    """Return a token for a broker that does not verify signatures."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": CLIENT, "iat": now, "exp": now + int(life)})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join(part.rstrip("=") for part in encoded) + "."


@asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    app = web.Application()
    app.router.add_post("/token", server.give)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    try:
        yield server
    finally:
        await runner.cleanup()
