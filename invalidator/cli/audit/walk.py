"""Walk over all keys slowly, reading metadata, and of values at most the head of an entry."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from invalidator.cli.audit.expected import Expected, Facts, TagKeys, facts
from invalidator.cli.audit.families import Families
from invalidator.cli.audit.findings import BIG
from invalidator.redisclient import Client, Command, Reply, nodes
from invalidator.redisclient.errors import Meaning, diagnose, reaching
from invalidator.redisclient.server import Server, Sleep
from invalidator.targets.redis.keys import MOVING
from invalidator.targets.redis.walk import Pace

HEAD = re.compile(rb"!i1 [VN].. (\d{4})")  # of an entry of the read side: docs/read-side.md
MEMBERS = 1000  # of a tag that are compared, approximately
SLACK = 1000  # milliseconds that a member may outlive its tag: they are asked in sequence


class Audited(Struct):
    """The counts of one server, or of all servers of a cluster."""

    name: str
    facts: Facts
    families: Families = field(default_factory=Families)
    looked: int = 0  # keys
    spared: int = 0  # of these, not cache entries
    unread: int = 0  # of these, access was denied
    seconds: float = 0.0


Observe = Callable[[int, int], None]  # keys looked at, keys to look at


async def audited(
    client: Client,
    name: str,
    expected: Expected,
    *,
    pace: Pace | None = None,
    observe: Observe = lambda looked, total: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> Audited:
    """Walk over all servers of the client. Raises Unavailable."""
    everywhere = Server(client, name)
    with reaching(name):
        found = await nodes(client)
    servers = [Server(node, address or name) for address, node in found.items()]
    audit = Audited(name, await facts(servers))
    began = clock()
    for server in servers:
        walk = _Walk(server, everywhere, expected, audit, pace or Pace(), clock, sleep)
        await walk.run(lambda: observe(audit.looked, audit.facts.keys))
    audit.seconds = clock() - began
    return audit


class _Walk(Struct, frozen=True):
    """The walk over one server. Members of its tags may be elsewhere in the cluster."""

    server: Server
    everywhere: Server
    expected: Expected
    audit: Audited
    pace: Pace
    clock: Callable[[], float]
    sleep: Sleep

    async def run(self, observe: Callable[[], None]) -> None:
        cursor, count = b"0", self.pace.count
        while True:
            began = self.clock()
            ((cursor, keys),) = await self.server.insist([("SCAN", cursor, "COUNT", count)])
            await self._look(keys)
            self.audit.looked += len(keys)
            observe()
            if cursor == b"0":
                return
            busy = self.clock() - began
            count = self.pace.next_count(count, busy)
            await self.sleep(self.pace.pause(busy, sum(map(len, keys))))

    async def _look(self, keys: list[bytes]) -> None:
        asked: list[Command] = [("PTTL", key) for key in keys]
        asked += [("MEMORY", "USAGE", key) for key in keys]
        replies = await _ask(self.server, asked)
        named, spared = self.expected.named.matching(keys), self.expected.spared.matching(keys)
        left: dict[bytes, int] = {}
        for key, ttl, size in zip(keys, replies, replies[len(keys) :], strict=False):
            if not isinstance(ttl, int) or not isinstance(size, int | None):
                self.audit.unread += 1
            elif size is not None and ttl != -2:  # otherwise it is gone
                left[key] = ttl
                self._count(key, ttl, size, named=key in named, spared=key in spared)
        sets: set[bytes] = set()
        for tags in self.expected.tags:
            found = tags.all.matching(list(left))
            await self._look_at_tags(tags, left, found)
            sets |= found
        await self._look_at_heads([key for key in left if key not in sets])

    async def _look_at_heads(self, keys: list[bytes]) -> None:
        heads = await _ask(self.server, [("GETRANGE", key, 0, 11) for key in keys])
        for key, head in zip(keys, heads, strict=True):  # other types, and what is denied: errors
            if isinstance(head, bytes) and (found := HEAD.match(head)):
                self.audit.families.of(key).note_schema(int(found[1]), key)

    def _count(self, key: bytes, ttl: int, size: int, *, named: bool, spared: bool) -> None:
        tally = self.audit.families.of(key)
        tally.keys += 1
        tally.size += size
        if size > BIG:
            tally.note("big", key)
            tally.largest = max(tally.largest, size)
        if spared:
            self.audit.spared += 1
            return
        if ttl == -1:
            tally.note("lasting", key)
        if not named:
            tally.note("unreached", key)

    async def _look_at_tags(self, tags: TagKeys, left: dict[bytes, int], found: set[bytes]) -> None:
        if not found:
            return
        reached = tags.reached.matching(list(found))
        keys = sorted(key for key in found if key in reached or left[key] >= 0)
        for key, members in zip(keys, await self._members(tags, keys), strict=True):
            if key in reached:
                for member in members:
                    self.audit.families.of(member).tagged += 1
            if left[key] >= 0 and members:
                await self._compare(key, members)

    async def _members(self, tags: TagKeys, keys: list[bytes]) -> list[list[bytes]]:
        scored = tags.layout.kind == "sorted-set"
        scan, prefix = "ZSCAN" if scored else "SSCAN", tags.layout.prefix.encode()
        replies = await _ask(self.server, [(scan, key, 0, "COUNT", MEMBERS) for key in keys])
        members = []
        for reply in replies:  # a key of another type is an error: it has no members
            part = [] if isinstance(reply, Exception) else reply[1]
            members.append([prefix + member for member in part[:: 2 if scored else 1]])
        return members

    async def _compare(self, tag: bytes, members: Sequence[bytes]) -> None:
        """Compare times to live; the tag's is asked again, since long sets take time to read."""
        asked: list[Command] = [("PTTL", member) for member in members[:MEMBERS]]
        (own,) = await _ask(self.server, [("PTTL", tag)])
        lives = await _ask(self.everywhere, asked)
        if not isinstance(own, int) or own < 0:
            return
        for member, live in zip(members, lives, strict=False):
            if isinstance(live, int) and (live == -1 or live > own + SLACK):
                tally = self.audit.families.of(tag)
                if "tags" not in tally.samples:
                    outlives = b"for ever" if live == -1 else b"%d s" % (live // 1000)
                    tally.samples["tags"] = b"%s lives %d s, its member %s %s" % (
                        tag[:120], own // 1000, member[:120], outlives
                    )  # fmt: skip
                tally.tags += 1
                return


async def _ask(server: Server, commands: list[Command]) -> list[Reply]:
    """Send the commands; errors about one key are returned, also while it moves to another node."""
    replies = await server.send(commands)
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, Exception):
            verdict = diagnose(reply)
            if verdict.meaning is Meaning.UNAVAILABLE and verdict.code not in MOVING:
                raise verdict.unavailable(server.name, str(command[0]))
    return replies
