"""The shipped driver of the L1 on a real Redis, under schedules drawn at random.

A coroutine of the driver stops before a command is executed, and before its reply is handled.
Messages are queued for each process, and handled one by one; links break, and messages get lost.
The property, per process: a read that begins after the process has handled the announcement of a
committed write, or noticed that it missed something, never returns an older value.
"""

import random
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, ClassVar

from invalidator.cache import L1, Kind
from invalidator.cache.backplane import HEARING, Announced, Follower, Sender
from invalidator.cache.base import WritePlan
from invalidator.cache.breaker import Breaker
from invalidator.cache.near import NearDriver
from invalidator.cache.process import Process
from invalidator.cache.requests import Steps
from tests.integration.cache.schedules import Actor, Scenario, World

PLAIN = Kind(jitter=0.0, early=0.0, l1_ttl="1h")
SWR = Kind(swr="1h", jitter=0.0, early=0.0, l1_ttl="1h")
TROUBLES = ("break", "lose")
EVENTS = ("evict-entry", "soft", "deadline", "crash")
STAMPED = (*EVENTS, "evict-stamp", "evict-version")

SCENARIOS = (
    Scenario("key", ("key", "key"), kind=PLAIN, events=EVENTS),
    Scenario("key and elsewhere", ("key", "elsewhere", "elsewhere"), kind=PLAIN, events=EVENTS),
    Scenario("pattern", ("pattern", "key"), kind=PLAIN, events=EVENTS),
    Scenario("tag", ("tag", "key"), tag=True, kind=SWR, events=STAMPED),
    Scenario("version", ("version", "version"), version=True, kind=PLAIN, events=STAMPED),
    Scenario(
        "dynamic tag", ("other", "tag"), tag=True, dynamic="before", kind=PLAIN, events=STAMPED
    ),
    Scenario("writing", ("writing", "key"), kind=PLAIN, events=EVENTS),
    Scenario("writing and tag", ("writing", "tag"), tag=True, kind=SWR, events=STAMPED),
    Scenario("versioned", ("versioned", "key"), kind=PLAIN, events=EVENTS),
)
KINDS: dict[str, Announced] = {"tag": "tags", "other": "tags", "version": "versions"}


class Turn:
    """Another actor may take its turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Steered(NearDriver):
    """The shipped driver, whose commands are steps of a schedule."""

    def __init__(self, world: "NearWorld", here: Process) -> None:
        self._world = world
        self._here = here
        self._l1 = L1(clock=lambda: self.elapsed)
        self._breaker = Breaker()
        self._link: Any = "followed by a step"
        self.elapsed = 0.0
        self.follower = Follower(self._l1, here)
        self.queue: list[tuple[int, bytes]] = []
        self.lost_rows = [0]
        self.connected = True
        self.floor = 1
        self.subscribed()

    def subscribed(self) -> None:
        self.follower.subscribed()
        self.elapsed += HEARING
        self.follower.alive()

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        await Turn()
        found: list[bytes | None] = await _taken(self._world.get(keys))
        for _ in range(self._world.draw.choice([1, 1, 1, 40])):  # some replies take long
            await Turn()
        return found

    async def drive(self, steps: Steps, load: Any) -> Any:
        return await _taken(self._world.drive(steps, self._here))


class _taken:  # noqa: N801 - reads as a function
    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def __await__(self) -> Actor:
        return (yield from self._actor)


class NearWorld(World):
    """One schedule with an L1 in each process."""

    hits: ClassVar[int] = 0  # of all schedules
    wrong_order: ClassVar[bool] = False  # announced before it is deleted

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sender = Sender()
        self.drivers = {id(here): Steered(self, here) for here in self.processes}
        self.actors += [self.trouble(event) for event in TROUBLES]
        self.actors += [self.link(driver) for driver in self.drivers.values()]

    def reader(self, number: int) -> Actor:
        here = self.draw.choice(self.processes)
        for _ in range(5):
            yield
            before = self.spec.stats.l1
            driver = self.drivers[id(here)]
            floor = driver.floor
            read: Coroutine[None, None, Any] = driver.read(self.names, self.spec, None)  # type: ignore[arg-type]
            value = yield from read.__await__()
            self.trace.append(f"reader {number} returns {value}, floor {floor}")
            NearWorld.hits += self.spec.stats.l1 - before
            if value < floor:
                self.stale.append(f"reader {number} began with {floor} and returned {value}")

    # --- announcements --------------------------------------------------------------------------

    def writer(self, kind: str) -> Actor:
        yield from self.pause()
        if kind == "elsewhere":  # what is announced concerns nobody here
            self.publish(kind, 0)
            return
        plan = WritePlan(self.names, self.spec, self.processes[0])
        if kind == "writing":
            plan.began((yield from self.send(plan.before())))
            yield
        self.row += 1
        mine = self.row
        self.trace.append(f"{kind} commits {mine}")
        yield
        plan.write.value = mine
        plan.write.version = mine if "versioned" in self.scenario.writers else 0
        if self.wrong_order:
            self.publish(kind, mine)
            yield from self.pause()
        self.invalidate(kind, mine, plan)
        self.applied(mine)
        yield
        if kind in ("writing", "versioned"):  # by a service, which drops its own copy
            own = self.drivers[id(self.processes[0])]
            own._l1.drop([self.names.key])
            own.floor = max(own.floor, mine)
            yield
        if not self.wrong_order:
            self.publish(kind, mine)

    def publish(self, kind: str, mine: int) -> None:
        announced = KINDS.get(kind, "patterns" if kind == "pattern" else "keys")
        (command,) = self.sender.commands(announced, [self.named(kind)])
        for driver in self.drivers.values():
            if driver.connected:
                assert isinstance(command[2], bytes)
                driver.queue.append((mine, command[2]))
        self.trace.append(f"announced {mine}")

    def named(self, kind: str) -> str:
        stamp = {"tag": self.tag, "other": self.other}.get(kind)
        if stamp is not None:
            return stamp.rpartition(":")[2]
        if kind == "version":
            return self.version.rpartition(":")[2]
        key = self.names.key
        return {"pattern": f"{key[:2]}*", "elsewhere": "elsewhere"}.get(kind, key)

    def moment(self) -> Actor:
        for _ in range(self.draw.randint(0, 3)):
            yield

    def link(self, driver: Steered) -> Actor:
        """Handle messages; notice a broken link, and subscribe again."""
        while len(self.actors) > len(self.drivers):
            yield
            if not driver.connected:
                yield from self.moment()
                driver.follower.lost()
                driver.floor = self.floor
                self.trace.append("the lost link is noticed")
                yield from self.pause()
                driver.connected = True
                driver.follower.subscribed()
                driver.floor = self.floor
                self.trace.append("subscribed again")
                yield from self.moment()
                driver.elapsed += HEARING
                driver.follower.alive()
            elif driver.queue:
                row, raw = driver.queue.pop(0)
                driver.follower.hear(raw)
                driver.floor = max(driver.floor, row, *driver.lost_rows)
                self.trace.append(f"message of {row} is handled")

    def trouble(self, event: str) -> Actor:
        """The link of a process breaks, or a message to it gets lost."""
        yield from self.pause()
        driver = self.draw.choice([*self.drivers.values()])
        self.trace.append(event)
        if event == "break":
            driver.connected = False
            driver.queue.clear()
            return
        for _ in range(200):
            if driver.queue:
                row, _ = driver.queue.pop(0)
                driver.lost_rows.append(row)
                return
            yield


def stale_copies(
    client: Any, count: int, seed: int, scenarios: Sequence[Scenario] = SCENARIOS
) -> str:
    """Run schedules; return the first that serves a stale value, or nothing."""
    for number in range(count):
        scenario = scenarios[number % len(scenarios)]
        world = NearWorld(client, scenario, number, random.Random(f"{seed}.{number}"), False)
        if world.run():
            return "\n".join([f"{scenario.name}, seed {seed}.{number}", *world.trace])
        if number % 500 == 499:
            client.flushall()
    return ""
