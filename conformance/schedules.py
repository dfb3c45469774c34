"""Random schedules of readers and writers of several clients on one Redis, with their oracle.

A row is a number that only grows. A read that begins after an invalidation was done must not return
an older number than the row had when that invalidation began.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

Loader = Callable[[], Awaitable[Any]]
STEPS: Final = 14  # of one schedule
TOGETHER: Final = 40  # schedules that run at once, on keys of their own


class Client(Protocol):
    name: str

    async def ask(self, what: str, loader: Loader | None = None, **fields: Any) -> Any: ...


class Schedule:
    """One row and its entry, read and written by all clients."""

    def __init__(self, seed: int, clients: Sequence[Client]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it has to be repeatable
        self._clients = clients
        self._key = f"row:{seed}"
        self._names = {
            "key": self._key,
            "tags": [f"tag:{seed}"] if self._random.random() < 0.5 else [],
            "versions": [f"version:{seed}"] if self._random.random() < 0.3 else [],
        }
        self._row = 1
        self._floor = 1  # no read that begins now may return less
        self._gates: list[asyncio.Event] = []
        self.seed = seed
        self.stale: list[str] = []
        self.reads = 0

    async def run(self) -> None:
        """Take random steps, and let all that was begun come to its end."""
        began: list[asyncio.Task[None]] = []
        for _ in range(STEPS):
            step = self._random.choice((self._read, self._read, self._read, self._write, self._go))
            began.append(asyncio.create_task(step(self._random.choice(self._clients))))
            for _ in range(self._random.randrange(4)):
                await asyncio.sleep(self._random.choice((0, 0, 0.001)))
        while not all(task.done() for task in began):
            await self._go(self._clients[0])
            await asyncio.sleep(0.001)
        for task in began:
            task.result()

    async def _go(self, _: Client) -> None:
        """Let a random loader or transaction continue."""
        waiting = [gate for gate in self._gates if not gate.is_set()]
        if waiting:
            self._random.choice(waiting).set()

    async def _gate(self) -> None:
        gate = asyncio.Event()
        self._gates.append(gate)
        await gate.wait()

    async def _read(self, client: Client) -> None:
        floor = self._floor

        async def load() -> int:
            row = self._row  # as a query sees it; its answer comes later
            if self._random.random() < 0.7:
                await self._gate()
            return row

        found = await client.ask("read", load, **self._names)
        self.reads += 1
        if found < floor:
            self.stale.append(f"{client.name} read {found}, older than {floor}")

    async def _write(self, client: Client) -> None:
        how = self._random.choice(("key", "key", "write", *("tag", "version")))
        if how == "write":
            await self._write_through(client)
            return
        self._row += 1
        row = self._row
        if how == "tag" and self._names["tags"]:
            await client.ask("invalidate_tags", names=self._names["tags"])
        elif how == "version" and self._names["versions"]:
            await client.ask("bump", names=self._names["versions"])
        else:
            await client.ask("invalidate", names=[self._key])
        self._floor = max(self._floor, row)

    async def _write_through(self, client: Client) -> None:
        async def transaction() -> int:
            if self._random.random() < 0.5:
                await self._gate()
            self._row += 1
            return self._row

        row = await client.ask("write", transaction, **self._names)
        self._floor = max(self._floor, row)


async def run(clients: Sequence[Client], seeds: Sequence[int]) -> tuple[int, list[str]]:
    """Run a schedule for each seed; return the reads, and what was stale."""
    reads, stale = 0, []
    for at in range(0, len(seeds), TOGETHER):
        schedules = [Schedule(seed, clients) for seed in seeds[at : at + TOGETHER]]
        await asyncio.gather(*(schedule.run() for schedule in schedules))
        reads += sum(schedule.reads for schedule in schedules)
        stale += [f"{s.seed}: {line}" for s in schedules for line in s.stale]
    return reads, stale
