"""Deleting keys: many in a command, all commands in one write, each failure to its own key."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from invalidator import layout
from invalidator.redisclient import Cluster, Command, Reply, ping
from invalidator.redisclient.cluster_routing import slot
from invalidator.redisclient.errors import Meaning, Verdict, diagnose
from invalidator.redisclient.server import Server, Sleep, ask_each

Key = TypeVar("Key", str, bytes)

PER_COMMAND = 256  # keys; more gains nothing, and one command must not hold the server up
MOVING = frozenset({"ask", "moved", "tryagain"})  # verdicts on keys whose slot is moving


class Keys:
    """UNLINK on one Redis; on a cluster, with keys of one slot in a command."""

    def __init__(self, server: Server, *, sleep: Sleep = asyncio.sleep) -> None:
        self._server = server
        self._cluster = isinstance(server.client, Cluster)
        self._sleep = sleep
        self._granted: str | bytes | None = None  # a key that we were allowed to delete

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        """Return how many existed, and which can never be deleted. Raises Unavailable."""
        chunks = (by_slot if self._cluster else in_order)(keys, PER_COMMAND)
        replies = await self._unlink(chunks)
        existed = 0
        doubtful: list[Key] = []
        for chunk, reply in zip(chunks, replies, strict=True):
            if isinstance(reply, int):
                existed += reply
            else:
                doubtful += chunk
        if not doubtful:
            self._granted = keys[0] if keys else self._granted
            return existed, {}
        # One bad key must not keep the others of its command alive.
        answers = await ask_each(doubtful, self._unlink, sleep=self._sleep)
        self._granted = next(iter(answers.replies), self._granted)
        await self._suspect_permissions(keys, answers.failed)
        return existed + sum(answers.replies.values()), answers.failed

    async def probe(self) -> None:
        """Raise Unavailable unless every server answers, and the one we ask lets us delete: a
        replica answers PINGs, too."""
        if self._cluster:
            await ping(self._server.client, self._server.name)
        (reply,) = await self._unlink([[layout.PROBE]])
        if isinstance(reply, Exception):
            raise diagnose(reply).unavailable(self._server.name, f"UNLINK {layout.PROBE}")

    async def _unlink(self, chunks: Sequence[Sequence[str | bytes]]) -> list[Reply]:
        return await self._server.ask([("UNLINK", *chunk) for chunk in chunks])

    async def _suspect_permissions(self, keys: Sequence[Key], failed: dict[Key, Verdict]) -> None:
        """Raise Unavailable when every key is forbidden because our permissions are gone.

        A key that we could delete before tells: deleting it once more does no harm.
        """
        denied = [verdict for verdict in failed.values() if verdict.code == "noperm"]
        if len(denied) < len(keys):
            return
        if self._granted is not None:
            (reply,) = await self._unlink([[self._granted]])
            if isinstance(reply, int):
                return
        raise denied[0].unavailable(self._server.name)


class NodeKeys:
    """UNLINK on one primary of a cluster, whose slots may move: a command for each key.

    ASKING lets it delete a key that has arrived before its slot. A key that left is reported as
    failed: the walk that found it sees that the slot is moving, and starts again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        """Return how many existed, and which could not be deleted here. Raises Unavailable."""
        commands: list[Command] = []
        for key in keys:
            commands += ("ASKING",), ("UNLINK", key)
        existed = 0
        failed: dict[Key, Verdict] = {}
        for key, reply in zip(keys, (await self._server.send(commands))[1::2], strict=True):
            if isinstance(reply, int):
                existed += reply
                continue
            verdict = diagnose(reply)
            if verdict.meaning is Meaning.UNAVAILABLE and verdict.code not in MOVING:
                raise verdict.unavailable(self._server.name)
            failed[key] = verdict
        return existed, failed


def in_order(keys: Sequence[Key], most: int) -> Sequence[Sequence[Key]]:
    """Divide keys into chunks of so many at most."""
    if len(keys) <= most:
        return [keys] if keys else []
    return [keys[at : at + most] for at in range(0, len(keys), most)]


def by_slot(keys: Sequence[Key], most: int) -> Sequence[Sequence[Key]]:
    """Divide keys into chunks that a cluster takes in one command, of so many at most."""
    slots: dict[int, list[Key]] = {}
    for key in keys:
        slots.setdefault(slot(key), []).append(key)
    chunks: list[Sequence[Key]] = []
    for together in slots.values():
        chunks += in_order(together, most)
    return chunks


def pointer_of(key: bytes) -> bytes:
    """Return where a tag's unfinished work is noted: one name for each tag, in the tag's slot."""
    return layout.WORK.encode() + b"{" + (hash_tag(key) or key) + b"}:" + key


def hash_tag(key: bytes) -> bytes:
    """Return the part in braces that decides a key's slot; empty where the whole key does."""
    _, opened, rest = key.partition(b"{")
    inside, closed, _ = rest.partition(b"}")
    return inside if opened and closed else b""
