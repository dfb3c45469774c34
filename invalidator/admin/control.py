"""Calls that change something. They want a token, and are off without one."""

import asyncio
import hmac
from typing import Any, Final, Protocol

from pydantic import SecretStr

from invalidator.admin.http import Handler, Request, Response, as_json, said
from invalidator.pipeline.rules_in_force import Reloaded
from invalidator.sources.person import Busy, Sent

ANSWER_WITHIN: Final = 60.0  # seconds that a call waits for its event to be applied
RELOAD_WITHIN: Final = 20.0  # seconds that a call waits for rules that a file system keeps back
LONGEST_REASON: Final = 200  # characters


class Control(Protocol):
    """The daemon, as a person may steer it."""

    async def reload(self) -> Reloaded:
        """Look at the rules now."""

    def pause(self, why: str) -> None:
        """Let no event in. What was read goes its way. Raises Busy."""

    def resume(self) -> None:
        """Let events in again; whatever held them."""

    def send(self, raw: bytes, origin: str) -> Sent:
        """An event of a person. Raises Busy."""


class Calls:
    """The handlers. All are behind the token."""

    def __init__(self, control: Control, token: SecretStr) -> None:
        self._control = control
        self._token = token.get_secret_value().encode()
        self._guarded = frozenset(self.routes())

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("POST", "/reload"): self._reload,
            ("POST", "/pause"): self._pause,
            ("POST", "/resume"): self._resume,
            ("POST", "/events"): self._events,
        }

    def refusal(self, request: Request) -> Response | None:
        """Of a call of ours by somebody who may not make it."""
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
        return as_json({"status": "paused"})

    async def _resume(self, _: Request) -> Response:
        self._control.resume()
        return as_json({"status": "resumed"})

    async def _events(self, request: Request) -> Response:
        """Answers when it is applied."""
        try:
            sent = self._control.send(request.body, request.query.get("source", ""))
        except Busy as busy:
            return said(503, str(busy))
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await sent.settled.wait()
        except TimeoutError:
            waited = f"not applied within {ANSWER_WITHIN:g} s, and tried on; /readyz says why"
            return as_json({"outcome": "waiting", "error": waited}, status=202)
        answer = outcome(sent)
        return as_json(answer, status=422 if answer["outcome"] == "rejected" else 200)


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
