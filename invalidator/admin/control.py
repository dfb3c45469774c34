"""Calls that change something. They require a token, and are off without one."""

import asyncio
import hmac
import socket
from typing import Final, Protocol

from pydantic import SecretStr

from invalidator.pipeline.rules_in_force import Reloaded
from invalidator.runtime.http import Handler, Request, Response, as_json, said

RELOAD_WITHIN: Final = 20.0  # seconds that a call waits for a slow file system
LONGEST_REASON: Final = 200  # characters


class Busy(Exception):  # noqa: N818 - not an error, but news
    """The daemon cannot do this now."""


class Control(Protocol):
    """The daemon, as a person may control it."""

    async def reload(self) -> Reloaded:
        """Look at the rules now; return the result."""

    def pause(self, why: str) -> None:
        """Read no event, and complete what was read. Raises Busy."""

    def resume(self) -> None:
        """Resume reading, or the topics that are paused because rules reject them. Raises Busy."""


class Calls:
    """Handles these calls, all of which require the token."""

    def __init__(self, control: Control, token: SecretStr) -> None:
        self._control = control
        self._token = token.get_secret_value().encode()
        self._guarded = frozenset(self.routes())

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("POST", "/reload"): self._reload,
            ("POST", "/pause"): self._pause,
            ("POST", "/resume"): self._resume,
        }

    def refusal(self, request: Request) -> Response | None:
        """Return the refusal of a call by somebody who may not make it; None for all others."""
        if (request.method, request.path) not in self._guarded:
            return None
        if not self._token:
            return said(403, "this call is off: it needs INVALIDATOR_ADMIN__TOKEN to be set")
        scheme, _, token = request.header("Authorization").partition(" ")
        right = hmac.compare_digest(token.strip().encode(errors="replace"), self._token)
        if right and scheme.lower() == "bearer":
            return None
        wanted = "expected `Authorization: Bearer` with the token of INVALIDATOR_ADMIN__TOKEN"
        return said(401, wanted, headers={"WWW-Authenticate": 'Bearer realm="invalidator"'})

    async def _reload(self, _: Request) -> Response:
        try:
            async with asyncio.timeout(RELOAD_WITHIN):
                done = await self._control.reload()
        except TimeoutError:
            return said(503, f"the rules could not be read within {RELOAD_WITHIN:g} s")
        return as_json(
            {"rules": done.rules, "problems": list(done.problems)},
            status=422 if done.problems else 200,
        )

    async def _pause(self, request: Request) -> Response:
        try:
            self._control.pause(request.query.get("why", "")[:LONGEST_REASON])
        except Busy as busy:
            return said(503, str(busy))
        return as_json({"status": "paused", "host": socket.gethostname()})

    async def _resume(self, _: Request) -> Response:
        try:
            self._control.resume()
        except Busy as busy:
            return said(409, str(busy))
        return as_json({"status": "resumed", "host": socket.gethostname()})
