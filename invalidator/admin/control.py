"""Calls that change something. They want a token, and are off without one."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from pydantic import SecretStr

from invalidator.http import web
from invalidator.inforce import Reloaded
from invalidator.sources.person import Busy, Sent

ANSWER_WITHIN: Final = 60.0  # seconds that a call waits for its event to be applied
LONGEST_REASON: Final = 200  # characters

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control(Protocol):
    """The daemon, as a person may steer it."""

    async def reload(self) -> Reloaded:
        """Look at the rules now."""

    def pause(self, why: str) -> None:
        """Let no event in. What was read goes its way."""

    def resume(self) -> None:
        """Let events in again; whatever held them."""

    def send(self, raw: bytes, origin: str) -> Sent:
        """An event of a person. Raises Busy."""


class Calls:
    """The handlers, each behind the token."""

    def __init__(self, control: Control, token: SecretStr) -> None:
        self._control = control
        self._token = token.get_secret_value().encode()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/reload", self._guarded(self._reload)),
            web.post("/pause", self._guarded(self._pause)),
            web.post("/resume", self._guarded(self._resume)),
            web.post("/events", self._guarded(self._events)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if refused := self._refusal(request.headers.get("Authorization", "")):
                return refused
            return await handler(request)

        return guarded

    def _refusal(self, given: str) -> web.Response | None:
        if not self._token:
            return said(403, "this call is off: it needs INVALIDATOR_ADMIN__TOKEN to be set")
        scheme, _, token = given.partition(" ")
        right = hmac.compare_digest(token.strip().encode(errors="replace"), self._token)
        if right and scheme.lower() == "bearer":
            return None
        wanted = "expected `Authorization: Bearer` with the token of INVALIDATOR_ADMIN__TOKEN"
        return said(401, wanted, headers={"WWW-Authenticate": 'Bearer realm="invalidator"'})

    async def _reload(self, _: web.Request) -> web.Response:
        done = await self._control.reload()
        return web.json_response(
            {"rules": done.rules, "problems": list(done.problems)},
            status=422 if done.problems else 200,
        )

    async def _pause(self, request: web.Request) -> web.Response:
        self._control.pause(request.query.get("why", "")[:LONGEST_REASON])
        return web.json_response({"status": "paused"})

    async def _resume(self, _: web.Request) -> web.Response:
        self._control.resume()
        return web.json_response({"status": "resumed"})

    async def _events(self, request: web.Request) -> web.Response:
        """Answers when it is applied."""
        raw = await request.read()
        try:
            sent = self._control.send(raw, request.query.get("source", ""))
        except Busy as busy:
            return said(503, str(busy))
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await sent.settled.wait()
        except TimeoutError:
            waited = f"not applied within {ANSWER_WITHIN:g} s, and tried on; /readyz says why"
            return web.json_response({"outcome": "waiting", "error": waited}, status=202)
        answer = outcome(sent)
        return web.json_response(answer, status=422 if answer["outcome"] == "rejected" else 200)


def outcome(sent: Sent) -> dict[str, Any]:
    """What came of an event. Where a rule rejected it, the other rules applied all the same."""
    told = sent.told
    matched = [verdict for verdict in told.verdicts if verdict.matched] if told else []
    word = "rejected" if sent.faults else "applied" if matched else "unmatched"
    return {
        "outcome": word,
        "type": told.event.type if told and told.event else None,
        "names": [
            {"rule": verdict.rule, "cache": name.cache, "kind": name.kind, "name": name.name}
            for verdict in matched
            for name in verdict.names
        ],
        "existed": sent.existed,
        "faults": [
            {"rule": fault.rule, "error": fault.error, "message": fault.message, "what": fault.what}
            for fault in sent.faults
        ],
    }


def said(status: int, error: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": error}, status=status, headers=headers)
