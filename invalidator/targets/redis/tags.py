"""Tags: sets of cache keys, forgotten with all their members.

A tag's set is first renamed, in one step, to a work key of its own, which shares the tag's slot.
Readers start a new set, and a crash leaves the old one where the next try finds it: a pointer
beside the tag names its work keys, and a registry names the pointers, for events that nobody
will deliver again.

A work key's name is used once. Two daemons may then consume the same one side by side, and either
may drop it: whatever was in it had been claimed before, and is deleted. Under a name that is used
again, the slower one would drop members that belong to the next claim.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Literal

from msgspec import Struct

from invalidator import layout
from invalidator.redisclient import Command, Reply
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Call, Script, Server, Sleep, each
from invalidator.targets.redis.slots import pointer_beside
from invalidator.targets.redis.tag_work import PER_COMMAND, Consumed, Consumer, Unlink, Work, works

CLAIM = Script.load("claim")
PER_CALL = 100  # tags a script looks at; most are absent


class Layout(Struct, frozen=True):
    """How a cache keeps its tags."""

    kind: Literal["set", "sorted-set", "stamp"] = "set"
    key: str = layout.TAG_SET  # with {tag}; absolute
    prefix: str = ""  # before the members, where they are not whole keys

    def key_of(self, tag: str) -> str:
        return self.key.replace("{tag}", tag)


class Claimed(Struct, frozen=True):
    work: dict[Work, str]  # what has to be finished, for which tag
    failed: dict[str, Verdict]


def stamps(layouts: Sequence[Layout], tags: Collection[str]) -> dict[str, str]:
    """The keys to delete for the layout `stamp`, each with its tag."""
    return {kept.key_of(tag): tag for kept in layouts if kept.kind == "stamp" for tag in tags}


class Tags:
    """The tags of one cache, on one Redis."""

    def __init__(
        self,
        server: Server,
        layouts: Sequence[Layout],
        unlink: Unlink,
        *,
        cluster: bool = False,
        token: Callable[[], str] = lambda: uuid.uuid4().hex,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`unlink` deletes members, wherever in the cluster they are.

        On a cluster a script's keys must share a slot, and there is no registry: `recover` looks
        for what is left by walking the keys of this server.
        """
        self._server = server
        self._layouts = layouts
        self._per_call = 1 if cluster else PER_CALL
        self._registry = () if cluster else (layout.WORKS.encode(),)
        self._consumer = Consumer(server, unlink, self._registry, self._per_call)
        self._token = token
        self._sleep = sleep

    def stamps(self, tags: Collection[str]) -> dict[str, str]:
        """The keys to delete for the layout `stamp`, each with its tag: on the fast path."""
        return stamps(self._layouts, tags)

    async def consume(self, tags: Collection[str]) -> Consumed:
        """Delete every key that is in the tags' sets now. Raises Unavailable."""
        result = Consumed()
        for kept in self._layouts:
            if kept.kind != "stamp":
                answers = await self._claim(kept, list(tags))
                result.failed |= answers.failed
                result.add(await self._consumer.finish(answers.work))
        return result

    async def recover(self) -> Consumed:
        """Finish what was left by a crash, but for what fails. Raises Unavailable."""
        result = Consumed()
        async for pointers in self._pointers():
            replies = await self._server.insist(("HGETALL", pointer) for pointer in pointers)
            for pointer, reply in zip(pointers, replies, strict=True):
                # Noted, but with nothing left to do: any name that does not exist ends it.
                work = works(pointer, reply) or [Work(pointer, pointer + b":", b"set", b"")]
                tag = pointer.decode(errors="replace")
                result.add(await self._consumer.finish(dict.fromkeys(work, tag), keep=True))
        return result

    async def _claim(self, kept: Layout, tags: list[str]) -> Claimed:
        kind = b"set" if kept.kind == "set" else b"zset"
        keys = {tag: kept.key_of(tag).encode() for tag in tags}
        pointers = {tag: pointer_beside(key) for tag, key in keys.items()}

        async def attempt(groups: Sequence[Sequence[str]]) -> list[Reply]:
            arguments = (kind, self._token().encode(), kept.prefix.encode())
            pairs = (
                [part for tag in group for part in (keys[tag], pointers[tag])] for group in groups
            )
            calls = [Call([*pair, *self._registry], arguments) for pair in pairs]
            return await self._server.run(CLAIM, calls)

        answers = await each(tags, attempt, together=self._per_call, sleep=self._sleep)
        if any(verdict.code == "noperm" for verdict in answers.failed.values()):
            await self._may_keep_work()
        found = {
            work: tag
            for tag, reply in answers.replies.items()
            for work in works(pointers[tag], reply)
        }
        return Claimed(found, answers.failed)

    async def _may_keep_work(self) -> None:
        """Raise Unavailable where our own keys are forbidden: that is no fault of the tags."""
        ours = layout.WORK.encode()
        await self._server.insist_on(
            CLAIM, [Call([ours, ours, *self._registry], (b"set", b"", b""))]
        )

    async def _pointers(self) -> AsyncIterator[list[bytes]]:
        cursor = b"0"
        while True:
            ((cursor, found),) = await self._server.insist([self._read_pointers(cursor)])
            if found:
                yield found
            if cursor == b"0":
                return

    def _read_pointers(self, cursor: bytes) -> Command:
        if self._registry:
            return ("SSCAN", *self._registry, cursor, "COUNT", PER_COMMAND)
        ours = f"{layout.WORK}*"
        return ("SCAN", cursor, "MATCH", ours, "COUNT", PER_COMMAND, "TYPE", "hash")
