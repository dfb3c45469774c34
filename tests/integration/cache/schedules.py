"""The shipped protocol and scripts on a real Redis, under schedules drawn at random.

Every actor is a generator that stops before each atomic step: a Redis command, a read or a commit
of the database. The property is the model's: a read that begins after a write was committed and
its invalidation was applied never returns an older value.
"""

import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

from redis.exceptions import NoScriptError

from invalidator.cache import Loaded, json_codec, protocol, requests
from invalidator.cache.base import WritePlan
from invalidator.cache.entry import Names, new_token
from invalidator.cache.filling import framed
from invalidator.cache.kinds import Kind, Policy
from invalidator.cache.loading import Load, Outcome
from invalidator.cache.process import Process, Spec
from invalidator.cache.scripts import BUMP, REPLACE, with_source

Actor = Generator[None, None, Any]
TAG, OTHER, VERSION = "invalidator:stamp:t{n}", "invalidator:stamp:u{n}", "cache:version:v{n}"
ZEROS = "0" * 13


PLAIN = Kind(jitter=0.0, early=0.0)
SWR = Kind(swr="1h", jitter=0.0, early=0.0)
BACKGROUND = Kind(swr="1h", jitter=0.0, early=0.0, background=True)
BRIDGED = Kind(stale_if_error="1h", jitter=0.0, early=0.0)


@dataclass(frozen=True)
class Scenario:
    """Who takes part in a schedule."""

    name: str
    writers: tuple[str, ...]
    tag: bool = False
    version: bool = False
    # The loader names another tag: "before" it reads, or with the "result"; or before it reads, and
    # writers take its stamp: "known".
    dynamic: str = ""
    kind: Kind = PLAIN
    readers: int = 4
    events: tuple[str, ...] = ("evict-entry", "deadline", "crash")


STAMPED = ("evict-entry", "evict-stamp", "evict-version", "deadline", "soft", "crash")

SCENARIOS = (
    Scenario("key", ("key", "key")),
    Scenario("pattern", ("pattern", "key")),
    Scenario("tag", ("tag", "tag"), tag=True, events=STAMPED),
    Scenario("tag and key", ("tag", "key"), tag=True, kind=SWR, events=STAMPED),
    Scenario("version", ("version", "version"), version=True, events=STAMPED),
    Scenario("tag and version", ("tag", "version"), tag=True, version=True, events=STAMPED),
    Scenario("swr", ("key", "key"), kind=SWR, events=("soft", "soft", "deadline", "evict-entry")),
    Scenario("background", ("key", "tag"), tag=True, kind=BACKGROUND, events=STAMPED),
    Scenario("bridged", ("key", "key"), kind=BRIDGED, events=("soft", "deadline", "crash")),
    Scenario("dynamic tag, before", ("other", "key"), dynamic="before", events=STAMPED),
    Scenario("dynamic tag, result", ("other", "tag"), tag=True, dynamic="result", events=STAMPED),
    Scenario("writing", ("writing", "writing")),
    Scenario("writing and key", ("writing", "key"), kind=SWR, events=("soft", *STAMPED)),
    Scenario("writing and tag", ("writing", "tag"), tag=True, events=STAMPED),
    Scenario("writing and version", ("writing", "version"), version=True, events=STAMPED),
    Scenario("writing, dynamic tag", ("writing", "other"), dynamic="before", events=STAMPED),
    Scenario("writing, known tag", ("writing", "other"), dynamic="known", events=STAMPED),
    Scenario("versioned", ("versioned", "versioned")),
    Scenario("versioned and key", ("versioned", "key", "writing")),
)


@dataclass
class World:
    """One schedule: its names, the database, and what has been invalidated."""

    protocol: ClassVar[ModuleType] = protocol  # tests put wrong ones here

    client: Any
    scenario: Scenario
    number: int
    draw: random.Random
    split: bool  # several keys are read one by one, in any order, as in a cluster
    row: int = 1
    floor: int = 1
    clock: float = 0.0  # seconds added by waits
    stale: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = {name: self._name(name) for name in (TAG, OTHER, VERSION)}
        self.tag, self.other, self.version = named[TAG], named[OTHER], named[VERSION]
        scenario = self.scenario
        declared = (self.tag,) * scenario.tag + (self.version,) * scenario.version
        self.names = Names(f"k{self.number}", declared)
        self.spec = Spec(scenario.kind.over(Policy()), json_codec(int))
        self.processes = [Process(self.time, self.time) for _ in range(self.draw.choice([1, 2]))]
        self.readers = [self.reader(number) for number in range(scenario.readers)]
        self.actors += self.readers
        self.actors += [self.writer(kind) for kind in scenario.writers]
        self.actors.append(self.environment(list(scenario.events)))

    def _name(self, template: str) -> str:
        return template.replace("{n}", str(self.number))

    def time(self) -> float:
        return time.time() + self.clock

    def run(self) -> list[str]:
        """Take all steps in an order drawn at random; return what was stale."""
        while self.actors:
            actor = self.draw.choice(self.actors)
            try:
                next(actor)
            except StopIteration:
                self.actors.remove(actor)
        return self.stale

    def do(self, *command: Any) -> Any:
        try:
            reply = self.client.execute_command(*command)
        except NoScriptError:
            reply = self.client.execute_command(*with_source(command))
        self.trace.append(f"{command[:1]} {command[3:]} -> {reply}")
        return reply

    # --- readers --------------------------------------------------------------------------------

    def reader(self, number: int) -> Actor:
        here = self.draw.choice(self.processes)
        for _ in range(2):
            yield
            floor, names = self.floor, here.known(self.names)
            found = yield from self.get(names.keys)
            steps = self.protocol.read(names, self.spec, here, found)
            value = yield from self.drive(steps, here)
            self.trace.append(f"reader {number} returns {value}, floor {floor}")
            if value < floor:
                self.stale.append(f"reader {number} began with {floor} and returned {value}")

    def get(self, keys: Sequence[str]) -> Generator[None, None, list[bytes | None]]:
        """Read keys; the first is read in the very step in which the caller is."""
        if not self.split:
            found: list[bytes | None] = self.do("MGET", *keys)
            return found
        values: dict[str, bytes | None] = {}
        for at, key in enumerate(self.draw.sample(list(keys), len(keys))):
            if at:
                yield
            values[key] = self.do("GET", key)
        return [values[key] for key in keys]

    def drive(self, steps: Any, here: Process) -> Actor:
        answer: Any = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as done:
                return done.value
            yield
            answer = yield from self.answer(request, here)

    def answer(self, request: Any, here: Process) -> Actor:
        match request:
            case requests.Get(keys):
                return (yield from self.get(keys))
            case requests.Send(commands):
                return (yield from self.send(commands))
            case requests.Call(load):
                return (yield from self.load(load))
            case requests.CallAlone():
                return self.row
            case requests.Lead(flight, steps):
                here.flights[flight.token] = flight
                try:
                    flight.outcome = yield from self.drive(steps, here)
                finally:  # also where this actor dies
                    here.flights.pop(flight.token, None)
                    flight.outcome = flight.outcome or Outcome(shared=False)
                return flight.outcome
            case requests.Join(flight):
                while flight.outcome is None:
                    yield
                return flight.outcome
            case requests.Background(steps):
                self.actors.append(self.drive(steps, here))
                return None
            case requests.Wait():
                for _ in range(self.draw.randint(1, 8)):
                    yield
                self.clock += 3  # five waits, and a reader loads for itself
                return None
        raise AssertionError(request)

    def send(self, commands: Sequence[Any]) -> Actor:
        """Run commands in any order, each in a step of its own."""
        replies: dict[int, Any] = {}
        for at in self.draw.sample(range(len(commands)), len(commands)):
            replies[at] = self.do(*commands[at])
            yield
        return [replies[at] for at in range(len(commands))]

    def pause(self) -> Actor:
        for _ in range(self.draw.randint(1, 30)):
            yield

    def load(self, load: Load) -> Actor:
        if self.scenario.dynamic in ("before", "known"):
            missing = load.note(self.own_tags())
            for name, command in zip(missing, load.commands(missing, new_token()), strict=True):
                load.took([name], [self.do(*command)])
                yield
        row = self.row
        self.trace.append(f"load {row}")
        yield from self.pause()
        tags = self.own_tags() if self.scenario.dynamic == "result" else []
        version = row if "versioned" in self.scenario.writers else 0
        return Loaded(row, tags=tags, version=version)

    def own_tags(self) -> list[str]:
        """Return the tags that only the loader names."""
        return [self.other.rpartition(":")[2]] * bool(self.scenario.dynamic)

    # --- writers --------------------------------------------------------------------------------

    def writer(self, kind: str) -> Actor:
        yield from self.pause()
        known = (self.other,) if self.scenario.dynamic == "known" else ()
        names = Names(self.names.key, self.names.declared + known)
        plan = WritePlan(names, self.spec, self.processes[0])
        if kind == "writing":
            replies = yield from self.send(plan.before())
            plan.began(replies)
            yield
        self.row += 1
        mine = self.row
        self.trace.append(f"{kind} commits {mine}")
        yield
        if kind == "pattern":
            found = self.do("EXISTS", self.names.key)
            yield
            if not found:
                self.applied(mine)
                return
        version = mine if "versioned" in self.scenario.writers else 0
        plan.write.value = Loaded(mine, version=version, tags=self.own_tags())
        self.invalidate(kind, mine, plan)
        self.applied(mine)

    def applied(self, mine: int) -> None:
        self.floor = max(self.floor, mine)

    def invalidate(self, kind: str, mine: int, plan: WritePlan) -> None:
        if kind == "tag":
            self.do("UNLINK", self.tag)
        elif kind == "other":
            self.do("UNLINK", self.other)
        elif kind == "version":
            self.do(*BUMP(self.version))
        elif kind == "writing":
            self.do(*plan.after())
        elif kind == "versioned":
            loaded = Loaded(mine, version=mine)
            entry, ttl = framed(loaded, None, b"", new_token(), self.spec, self.processes[0])
            self.do(*REPLACE(self.names.key, b"%016d" % mine, entry, int(ttl * 1000)))
        else:
            self.do("UNLINK", self.names.key)

    # --- what happens without anybody's doing ---------------------------------------------------

    def environment(self, events: list[str]) -> Actor:
        self.draw.shuffle(events)
        for event in events:
            yield from self.pause()
            self.trace.append(event)
            if event == "crash":
                self.crash()
            else:
                EVENTS[event](self)

    def crash(self) -> None:
        """A reader dies. (A writer that dies is followed by the daemon's event.)"""
        dead = self.draw.choice(self.actors)
        if dead in self.readers:
            dead.close()
            self.actors.remove(dead)

    def overwrite(self, state: bytes, offset: int) -> None:
        """Let a time in the entry pass."""
        entry = self.do("GET", self.names.key)
        if entry and entry[4:5] in state:
            self.do("SETRANGE", self.names.key, offset, ZEROS)


EVENTS: dict[str, Callable[[World], object]] = {
    "evict-entry": lambda world: world.do("UNLINK", world.names.key),
    "evict-stamp": lambda world: world.do("UNLINK", world.draw.choice([world.tag, world.other])),
    "evict-version": lambda world: world.do("UNLINK", world.version),
    "deadline": lambda world: world.overwrite(b"VNL", 47),
    "soft": lambda world: world.overwrite(b"VN", 61),
}


def stale_reads(
    client: Any, count: int, seed: int, *, split: bool, scenarios: Sequence[Scenario] = SCENARIOS
) -> str:
    """Run schedules; return the first that serves a stale value, or nothing."""
    for number in range(count):
        scenario = scenarios[number % len(scenarios)]
        draw = random.Random(f"{seed}.{number}")
        world = World(client, scenario, number, draw, split)
        if world.run():
            return "\n".join([f"{scenario.name}, seed {seed}.{number}", *world.trace])
        if number % 500 == 499:
            client.flushall()
    return ""
