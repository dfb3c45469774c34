"""Gauges for what is invisible from outside a daemon. They change no behaviour."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from redis.asyncio.connection import ConnectionPool

import invalidator.redisclient
import invalidator.redisclient.cluster
from invalidator.daemon.daemon import Daemon
from invalidator.rules.ruleset import RuleSet
from invalidator.targets.edge.client import Client
from tests.faults.gauges import Gauges

P = ParamSpec("P")
T = TypeVar("T")
EVERY = 0.1  # seconds
_POOLS: "WeakSet[ConnectionPool]" = WeakSet()
_EDGES: "WeakSet[Client]" = WeakSet()


def watch(gauges: Gauges) -> None:
    for module in (invalidator.redisclient, invalidator.redisclient.cluster):
        module.talk = _timed(module.talk, gauges)  # type: ignore[attr-defined]
    ConnectionPool.__init__ = _noted(ConnectionPool.__init__, _POOLS)  # type: ignore[method-assign]
    Client.__init__ = _noted(Client.__init__, _EDGES)  # type: ignore[method-assign]
    RuleSet.portions = _counted(RuleSet.portions, gauges)  # type: ignore[method-assign]
    Daemon.run = _observed(Daemon.run, gauges)  # type: ignore[assignment, method-assign]


def _timed(talk: Callable[P, Awaitable[T]], gauges: Gauges) -> Callable[P, Awaitable[T]]:
    @wraps(talk)
    async def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        began = time.monotonic()
        try:
            return await talk(*args, **kwargs)
        finally:
            gauges.raise_to("longest", time.monotonic() - began)

    return timed


def _noted(build: Callable[..., None], known: "WeakSet[Any]") -> Callable[..., None]:
    @wraps(build)
    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        known.add(self)

    return noted


def _pooled() -> int:
    found = [[*pool._available_connections, *pool._in_use_connections] for pool in [*_POOLS]]
    idle: int = sum(len(client._idle) for client in [*_EDGES])
    connected: int = sum(connection.is_connected for pool in found for connection in pool)
    return idle + connected


def _counted(plan: Callable[..., T], gauges: Gauges) -> Callable[..., T]:
    @wraps(plan)
    def counted(self, batch, **kwargs):  # type: ignore[no-untyped-def]
        gauges.set("planned", gauges.get("planned") + batch.events)
        return plan(self, batch, **kwargs)

    return counted


def _observed(run: Callable[..., Awaitable[int]], gauges: Gauges) -> Callable[..., Awaitable[int]]:
    @wraps(run)
    async def observed(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        loop = asyncio.get_running_loop()
        over = threading.Event()
        observer = threading.Thread(target=_observe, args=(loop, gauges, over), daemon=True)
        observer.start()
        try:
            return await run(self, *args, **kwargs)
        finally:
            over.set()

    return observed


def _observe(loop: asyncio.AbstractEventLoop, gauges: Gauges, over: threading.Event) -> None:
    """Observe from a thread: a task would count itself, and could not see a standstill."""
    while not over.wait(EVERY):
        answered = threading.Event()
        began = time.monotonic()

        def answer(answered: threading.Event = answered) -> None:
            gauges.set("tasks", len(asyncio.all_tasks(loop)))
            gauges.set("pooled", _pooled())
            answered.set()

        try:
            loop.call_soon_threadsafe(answer)
        except RuntimeError:  # the loop is closed
            return
        while not answered.wait(EVERY) and not over.is_set():
            pass
        gauges.raise_to("standstill", time.monotonic() - began)
