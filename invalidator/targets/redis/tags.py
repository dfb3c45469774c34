"""Tags: sets of cache keys, consumed with all their members.

A tag's set is first renamed, in one step, to a work key in the tag's slot. Readers start a new
set, and after a crash the next try finds the old one: a pointer in that slot names its work keys,
and a registry names the pointers, for events that nobody will deliver again.

A work key's name is used once. Two daemons may then consume the same work key side by side, and
either may drop it: its members had all been claimed before, and are deleted. If names were used
again, the slower daemon would drop members that belong to the next claim.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Literal

from msgspec import Struct

from invalidator import layout
from invalidator.errors import Unavailable
from invalidator.redisclient import Cluster, Command, Reply
from invalidator.redisclient.errors import Verdict, reaching
from invalidator.redisclient.server import Call, Server, Sleep, ask_each
from invalidator.runtime.tasks import all_of
from invalidator.targets.redis import scripts
from invalidator.targets.redis.keys import MOVING, pointer_of
from invalidator.targets.redis.tag_work import PER_COMMAND, Consumed, Consumer, Unlink, Work, works

CLAIM = scripts.load("claim")
PER_CALL = 100  # tags of one script, so that it blocks the server for a millisecond at most


class Layout(Struct, frozen=True):
    """The layout in which a cache keeps its tags."""

    kind: Literal["set", "sorted-set", "stamp"] = "set"
    key: str = layout.TAG_SET  # with {tag}; absolute
    prefix: str = ""  # before the members, where they are not whole keys

    def key_of(self, tag: str) -> str:
        return self.key.replace("{tag}", tag)


class Claimed(Struct, frozen=True):
    work: dict[Work, str]  # what has to be consumed, for which tag
    failed: dict[str, Verdict]


def stamps(layouts: Sequence[Layout], tags: Collection[str]) -> dict[str, str]:
    """Return the keys to delete for the layout `stamp`, each with its tag."""
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
        """`unlink` deletes members on any node of the cluster.

        On a cluster a script's keys must share a slot, and there is no registry: `recover` walks
        the keys of this server.
        """
        self._server = server
        self._layouts = layouts
        self._per_call = 1 if cluster else PER_CALL
        self._registry = () if cluster else (layout.WORKS.encode(),)
        self._consumer = Consumer(server, unlink, self._registry, self._per_call)
        self._token = token
        self._sleep = sleep

    async def consume(self, tags: Collection[str]) -> Consumed:
        """Delete every key that is in the tags' sets now. Raises Unavailable."""
        result = Consumed()
        for kept in self._layouts:
            if kept.kind != "stamp":
                answers = await self._claim(kept, list(tags))
                result.failed |= answers.failed
                result.add(await self._consumer.consume(answers.work))
        return result

    async def recover(self) -> Consumed:
        """Consume what a crash left, except for tags that fail. Raises Unavailable."""
        result = Consumed()
        async for pointers in self._pointers():
            replies = await self._server.insist(("HGETALL", pointer) for pointer in pointers)
            for pointer, reply in zip(pointers, replies, strict=True):
                # A pointer without work is dropped together with any name that does not exist.
                work = works(pointer, reply) or [Work(pointer, pointer + b":", b"set", b"")]
                tag = pointer.decode(errors="replace")
                result.add(await self._consumer.consume(dict.fromkeys(work, tag), keep=True))
        return result

    async def _claim(self, kept: Layout, tags: list[str]) -> Claimed:
        kind = b"set" if kept.kind == "set" else b"zset"
        keys = {tag: kept.key_of(tag).encode() for tag in tags}
        pointers = {tag: pointer_of(key) for tag, key in keys.items()}

        async def attempt(groups: Sequence[Sequence[str]]) -> list[Reply]:
            arguments = (kind, self._token().encode(), kept.prefix.encode())
            pairs = (
                [part for tag in group for part in (keys[tag], pointers[tag])] for group in groups
            )
            calls = [Call([*pair, *self._registry], arguments) for pair in pairs]
            return await self._server.run(CLAIM, calls)

        answers = await ask_each(tags, attempt, together=self._per_call, sleep=self._sleep)
        if any(verdict.code == "noperm" for verdict in answers.failed.values()):
            await self._may_keep_work()
        found = {
            work: tag
            for tag, reply in answers.replies.items()
            for work in works(pointers[tag], reply)
        }
        return Claimed(found, answers.failed)

    async def _may_keep_work(self) -> None:
        """Raise Unavailable where our own keys are forbidden: the tags are not to blame."""
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


class ClusterTags:
    """The tags of one cache, whose members are anywhere in the cluster."""

    def __init__(
        self, whole: Server, cluster: Cluster, layouts: Sequence[Layout], unlink: Unlink
    ) -> None:
        self._whole = whole
        self._cluster = cluster
        self._layouts = layouts
        self._unlink = unlink

    async def consume(self, tags: Collection[str]) -> Consumed:
        """Delete every key that is in the tags' sets now. Raises Unavailable."""
        result = Consumed()
        for kept in self._layouts:
            if kept.kind != "stamp":
                result.add(await self._where_they_are(kept, tags))
        return result

    async def recover(self) -> Consumed:
        """Consume what a crash left. Raises Unavailable."""
        with reaching(self._whole.name):
            nodes = await self._cluster.primaries()
        return await _sum(self._tags_on(address, self._layouts).recover() for address in nodes)

    async def _where_they_are(self, kept: Layout, tags: Collection[str]) -> Consumed:
        """Consume once more with a new slot map after a redirection: all of it may be repeated."""
        try:
            return await self._consume(kept, tags)
        except Unavailable as error:
            self._cluster.outdated()
            if error.code not in MOVING:
                raise
        return await self._consume(kept, tags)

    async def _consume(self, kept: Layout, tags: Collection[str]) -> Consumed:
        keys = {tag: kept.key_of(tag).encode() for tag in tags}
        with reaching(self._whole.name):
            owners = await self._cluster.owners(keys.values())
        parts: dict[str, list[str]] = {}
        for tag, key in keys.items():
            parts.setdefault(owners[key], []).append(tag)
        return await _sum(
            self._tags_on(address, [kept]).consume(part) for address, part in parts.items()
        )

    def _tags_on(self, address: str, layouts: Sequence[Layout]) -> Tags:
        server = Server(self._cluster.node(address), address)
        return Tags(server, layouts, self._unlink, cluster=True)


async def _sum(works: Iterable[Awaitable[Consumed]]) -> Consumed:
    result = Consumed()
    for consumed in await all_of(works):
        result.add(consumed)
    return result


def tags_on(server: Server, layouts: Sequence[Layout], unlink: Unlink) -> Tags | ClusterTags:
    if isinstance(server.client, Cluster):
        return ClusterTags(server, server.client, layouts, unlink)
    return Tags(server, layouts, unlink)
