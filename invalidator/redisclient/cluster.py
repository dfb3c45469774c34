"""A cluster: each command goes to the node that has its key's slot, all nodes side by side."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import ClusterError, RedisError
from redis.exceptions import ConnectionError as Disconnected

from invalidator.redisclient.cluster_routing import (
    ClusterView,
    RoutedCommands,
    SlotMap,
    most_common,
    parse_slots,
    slot,
)
from invalidator.redisclient.exchange import Command, Reply, ask_all, pack, talk
from invalidator.runtime.tasks import all_of
from invalidator.runtime.urls import Address, Host

ROUNDS = 6  # of redirections that are followed before the command fails
ASKED_AT_ONCE = 5  # nodes, for the slot map
REFRESH_EVERY = 30.0  # seconds, while nothing suggests that the map is outdated
REFRESH_PAUSE = 0.2  # seconds between two refreshes while slots move: redirections are followed
CLUSTER_SLOTS = pack(("CLUSTER", "SLOTS"))
LOST = (RedisError, OSError, TimeoutError)


class Cluster:
    """A client that knows which node owns which slot; the nodes are ordinary clients."""

    def __init__(
        self,
        address: Address,
        open_node: Callable[[Host], Redis],
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seeds = [f"{host}:{port}" for host, port in address.hosts]
        self._open = open_node
        self._timeout = timeout
        self._clock = clock
        self._nodes: dict[str, Redis] = {}
        self._map: SlotMap | None = None
        self._outdated = True
        self._refreshed_at = 0.0
        self._refreshing = asyncio.Lock()

    async def converse(self, commands: Iterable[Command]) -> list[Reply]:
        """Send each command to its node; an error reply is a value in the list.

        A command's keys must share a slot. Raises what an unavailable node raises.
        """
        routed = RoutedCommands(commands)
        try:
            for _ in range(ROUNDS):
                slots = await self._slots()
                calls = routed.calls(slots)
                # All calls end: what one node answers is not lost with another.
                talks = [talk(self.node(call.address), routed.packed(call)) for call in calls]
                for call, replies in zip(calls, await all_of(talks), strict=True):
                    if not routed.accept(call, replies, slots):
                        self._outdated = True
                if routed.done:
                    break
        except LOST:
            self._outdated = True
            raise
        routed.give_up(ClusterError("slots are on the move: redirected again and again"))
        return routed.replies()

    async def primaries(self) -> Mapping[str, Redis]:
        """Return all nodes that have keys, by address, as they are now."""
        slots = await self._slots(fresh=True)
        return {address: self.node(address) for address in slots.primaries()}

    async def owners(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return the address of the primary that has each key."""
        slots = await self._slots()
        return {key: slots.owner(slot(key)) for key in keys}

    async def anyone(self) -> Redis:
        """Return a random primary: the next try may find another."""
        slots = await self._slots()
        return self.node(random.choice(slots.primaries()))  # noqa: S311 - no secret

    async def listeners(self, channel: str) -> int:
        """Count subscribers on all nodes that answer; a pattern counts whatever it matches."""
        slots = await self._slots()
        nodes = {address: self.node(address) for address in slots.nodes}
        counts, _ = await ask_all(nodes, partial(_count, channel), self._timeout / 2)
        return sum(counts)

    def outdated(self) -> None:
        """Ask for the slots before the next command: somebody else was redirected."""
        self._outdated = True
        self._refreshed_at = -REFRESH_EVERY

    async def aclose(self) -> None:
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def node(self, address: str) -> Redis:
        """Return the client of one node."""
        if address not in self._nodes:
            host, _, port = address.rpartition(":")
            self._nodes[address] = self._open((host, int(port)))
        return self._nodes[address]

    # --- the slot map -------------------------------------------------------------------------

    async def _slots(self, *, fresh: bool = False) -> SlotMap:
        asked_at = self._clock()
        if not fresh and (known := self._known()) is not None:
            return known
        async with self._refreshing:
            if self._map is None or self._refreshed_at < asked_at:
                self._map = SlotMap(await self._ask_for_slots())
                self._refreshed_at = self._clock()
                self._outdated = False
                await self._forget_nodes(self._map)
            return self._map

    def _known(self) -> SlotMap | None:
        age = self._clock() - self._refreshed_at
        limit = REFRESH_PAUSE if self._outdated else REFRESH_EVERY
        return None if age >= limit else self._map

    async def _ask_for_slots(self) -> ClusterView:
        """Ask a few nodes that are likely to answer; if none does, all others."""
        known = self._map.primaries() if self._map else []
        random.shuffle(known)
        names = list(dict.fromkeys(chain(known, self._seeds)))
        reasons = []
        for some in (names[:ASKED_AT_ONCE], names[ASKED_AT_ONCE:]):
            nodes = {address: self.node(address) for address in some}
            answers, why_not = await ask_all(nodes, _ask, self._timeout / 2) if some else ([], "")
            if answers:
                return most_common(answers)
            reasons.append(why_not)
        raise Disconnected(
            f"no node reports the cluster's slots ({'; '.join(filter(None, reasons))})"
        )

    async def _forget_nodes(self, slots: SlotMap) -> None:
        for address in self._nodes.keys() - slots.nodes - set(self._seeds):
            await self._nodes.pop(address).aclose()


async def _count(channel: str, address: str, node: Redis) -> int:
    named, patterns = await talk(
        node, [pack(("PUBSUB", "NUMSUB", channel)), pack(("PUBSUB", "NUMPAT"))]
    )
    for reply in (named, patterns):
        if isinstance(reply, Exception):
            raise reply
    return int(named[1]) + int(patterns)


async def _ask(address: str, node: Redis) -> ClusterView:
    (reply,) = await talk(node, [CLUSTER_SLOTS])
    if isinstance(reply, Exception):
        if "cluster support disabled" in str(reply):
            raise Disconnected("is no cluster; write redis:// in place of redis+cluster://")
        raise reply
    return parse_slots(reply, address)
