"""Deleting keys: many in a command, all commands in one write, each failure to its own key."""

import asyncio
from collections.abc import Sequence

from invalidator import layout
from invalidator.redisclient import Client, Cluster, Reply, converse
from invalidator.redisclient.errors import Meaning, Verdict, diagnose, reaching
from invalidator.targets.redis.slots import Key, by_slot, in_order

PER_COMMAND = 256  # keys; more gains nothing, and one command must not hold the server up
TRIES = 3  # for an error that nobody knows, before its key is given up
BETWEEN_TRIES = 0.1  # seconds


class Keys:
    """UNLINK on one Redis; on a cluster, with keys of one slot in a command."""

    def __init__(self, client: Client, server: str) -> None:
        self._client = client
        self._server = server
        self._cluster = isinstance(client, Cluster)
        self._granted: str | bytes | None = None  # a key that we were allowed to delete

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        """How many were there, and which can never be deleted. Raises Unavailable."""
        chunks = (by_slot if self._cluster else in_order)(keys, PER_COMMAND)
        replies = await self._send(chunks)
        existed = 0
        doubtful: list[Key] = []
        for chunk, reply in zip(chunks, replies, strict=True):
            if isinstance(reply, int):
                existed += reply
            else:
                doubtful += self._unless_away(chunk, reply)
        if not doubtful:
            self._granted = keys[0] if keys else self._granted
            return existed, {}
        found, failed = await self._one_by_one(doubtful)
        await self._suspect_permissions(keys, failed)
        return existed + found, failed

    async def probe(self) -> None:
        """Raise Unavailable unless the server lets us delete: a replica answers PINGs too."""
        (reply,) = await self._send([[layout.PROBE]])
        if isinstance(reply, Exception):
            raise diagnose(reply).unavailable(self._server, f"UNLINK {layout.PROBE}")

    async def _one_by_one(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        """One bad key must not keep the others of its command alive."""
        existed = 0
        failed: dict[Key, Verdict] = {}
        for left in range(TRIES - 1, -1, -1):
            unknown = []
            replies = await self._send([[key] for key in keys])
            for key, reply in zip(keys, replies, strict=True):
                if isinstance(reply, int):
                    existed += reply
                    self._granted = key
                    continue
                self._unless_away([key], reply)
                verdict = diagnose(reply)
                if verdict.meaning is Meaning.UNKNOWN and left:
                    unknown.append(key)
                else:
                    failed[key] = verdict
            if not unknown:
                break
            keys = unknown
            await asyncio.sleep(BETWEEN_TRIES)
        return existed, failed

    async def _suspect_permissions(self, keys: Sequence[Key], failed: dict[Key, Verdict]) -> None:
        """When every key is forbidden, is it the keys, or did somebody take our permissions?

        A key that we could delete before tells: deleting it once more does no harm.
        """
        denied = [v for v in failed.values() if v.code == "noperm"]
        if len(denied) < len(keys):
            return
        if self._granted is not None:
            (reply,) = await self._send([[self._granted]])
            if isinstance(reply, int):
                return
        raise denied[0].unavailable(self._server)

    def _unless_away(self, keys: Sequence[Key], reply: Exception) -> Sequence[Key]:
        """The keys to look at one by one; but a server that is away is not their fault."""
        verdict = diagnose(reply)
        if verdict.meaning is Meaning.UNAVAILABLE:
            raise verdict.unavailable(self._server)
        return keys

    async def _send(self, chunks: Sequence[Sequence[str | bytes]]) -> list[Reply]:
        commands = [("UNLINK", *chunk) for chunk in chunks]
        with reaching(self._server):
            return await converse(self._client, commands)
