"""Versions: numbers that only grow, so that keys built with an old one are never read again."""

from collections.abc import Collection, Sequence

from invalidator import layout
from invalidator.redisclient import Reply
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Call, Server, ask_each
from invalidator.targets.redis import scripts

BUMP = scripts.load("bump")
PER_CALL = 100  # versions; half a millisecond of the server's time


class Versions:
    """The versions of one cache, on one Redis or cluster."""

    def __init__(
        self, server: Server, template: str = layout.VERSION, *, per_call: int = PER_CALL
    ) -> None:
        """`per_call` is 1 on a cluster, where a script's keys must share a slot."""
        self._server = server
        self._template = template
        self._per_call = per_call

    async def bump(self, names: Collection[str]) -> dict[str, Verdict]:
        """Raise each of them; return those that can never be raised. Raises Unavailable."""
        answers = await ask_each(list(names), self._attempt, together=self._per_call)
        return answers.failed

    async def _attempt(self, groups: Sequence[Sequence[str]]) -> list[Reply]:
        calls = [Call([self._key(name) for name in group]) for group in groups]
        return await self._server.run(BUMP, calls)

    def _key(self, name: str) -> bytes:
        return self._template.replace("{name}", name).encode()
