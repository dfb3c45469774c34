"""Wait for the effect of an event: keys that are gone, names that daemons announce."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from invalidator.cli.listen import Received, listen
from invalidator.redisclient import Client, converse
from invalidator.redisclient.errors import reaching
from invalidator.rules import globs
from invalidator.targets.redis.messages import Message

if TYPE_CHECKING:
    from invalidator.rules import Yield
    from invalidator.rules.explain.explain import Explanation

LOOK_EVERY: Final = 0.005  # seconds
HEARD_WITHIN: Final = 2.5  # seconds: a daemon sends a sign of life each second

_DONE: Final = {
    "keys": "was invalidated",
    "patterns": "was swept",
    "tags": "was invalidated",
    "versions": "was raised",
}


class Effect(Struct, frozen=True):
    """One name, and what became of it."""

    kind: str
    name: str
    done: str
    ms: float
    rule: str = ""  # the one that names it by the rules here; empty: unknown

    def __str__(self) -> str:
        what = "" if self.kind == "keys" else f"{self.kind.removesuffix('s')} "
        by = f" by rule {self.rule}" if self.rule else ""
        return f"{what}{self.name} {self.done} after {self.ms:.0f} ms{by}"


Tell = Callable[[Effect], None]


class Awaited(Struct):
    """Names that must have an effect, and those that had one."""

    rules: Mapping[tuple[str, str], str]  # by kind and name
    tell: Tell
    left: set[tuple[str, str]]
    effects: list[Effect] = field(default_factory=list)
    all_done: asyncio.Event = field(default_factory=asyncio.Event)
    _sent_at: float = 0.0
    _early: list[tuple[str, str, str, float]] = field(default_factory=list)

    def sent(self, at: float) -> None:
        """Note when the event was sent; what was noted before is told now."""
        self._sent_at = at
        for kind, name, done, seen_at in self._early:
            self._tell(kind, name, done, seen_at)

    def note(self, kind: str, name: str, done: str) -> None:
        """Note that a name had its effect."""
        if (kind, name) in self.left:
            self.left.discard((kind, name))
            seen = kind, name, done, time.monotonic()
            if self._sent_at:
                self._tell(*seen)
            else:
                self._early.append(seen)
            if not self.left:
                self.all_done.set()

    def _tell(self, kind: str, name: str, done: str, at: float) -> None:
        ms = max(0.0, at - self._sent_at) * 1000
        effect = Effect(kind, name, done, ms, self.rules.get((kind, name), ""))
        self.effects.append(effect)
        self.tell(effect)


class Announced:
    """Hears what daemons announce. As a context manager, it waits until one of them knows that we
    listen: a daemon announces nothing otherwise."""

    def __init__(self, clients: Mapping[str, Client], awaited: Awaited) -> None:
        self._clients = clients
        self._awaited = awaited
        self._alive = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def heard(self) -> bool:
        """Return whether any daemon announces what it applies."""
        return self._alive.is_set()

    async def __aenter__(self) -> "Announced":
        if self._clients:
            self._task = asyncio.create_task(listen(self._clients, self._tell))
            waiting = asyncio.create_task(self._alive.wait())
            await asyncio.wait(
                {self._task, waiting}, timeout=HEARD_WITHIN, return_when=asyncio.FIRST_COMPLETED
            )
            waiting.cancel()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _tell(self, received: Received) -> bool:
        if isinstance(received, Message):
            self._alive.set()
            for name in received.names:
                kind = str(received.kind)
                self._awaited.note(kind, name, _DONE.get(kind, ""))
        return False


async def watch_keys(client: Client, server: str, keys: Sequence[str], awaited: Awaited) -> None:
    """Note each key once it is gone, until all are. Raises Unavailable."""
    left = [*keys]
    while left:
        with reaching(server):
            there = await converse(client, [("EXISTS", key) for key in left])
        for key, exists in zip(left, there, strict=True):
            if exists == 0:
                awaited.note("keys", key, "was deleted")
        left = [key for key, exists in zip(left, there, strict=True) if exists]
        await asyncio.sleep(LOOK_EVERY)


def rules_of(told: "Explanation | None", keys: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the rule that names each name or key, by the rules here."""
    found: dict[tuple[str, str], str] = {}
    for rule, name in _named(told):
        found.setdefault((name.kind, name.name), rule)
        if name.kind == "patterns":
            pattern = globs.tokens(name.name)
            for key in keys:
                if globs.meet(pattern, [("=", char) for char in key]):
                    found.setdefault(("keys", key), rule)
    return found


def _named(told: "Explanation | None") -> "Iterator[tuple[str, Yield]]":
    for verdict in told.verdicts if told else ():
        for name in verdict.names:
            yield verdict.rule, name
