"""The events of a row: sent immediately, or steadily while something breaks."""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import redis

from tests.backends import until_sync
from tests.faults.caches import Cache
from tests.faults.inlets import Inlet, deal
from tests.faults.ledger import Entry, Ledger

STEP = 0.05  # seconds
ASK_EVERY = 0.25


class Load:
    """A ledger, the cache it is about, and the inlets its events take."""

    def __init__(
        self, ledger: Ledger, cache: Cache, inlets: Sequence[Inlet], rng: random.Random
    ) -> None:
        self.ledger = ledger
        self.cache = cache
        self.inlets = inlets
        self.sent = 0  # repetitions included
        self.state = cache  # where the dead letters are
        self._rng = rng
        self._next = 0
        self._lag = 0
        self._asked = 0.0
        self._over = threading.Event()

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the settings of a daemon that reads them."""
        told = {"REDIS_URL": self.cache.url, "BATCH__MAX_EVENTS": "200"}
        for inlet in self.inlets:
            told |= inlet.settings
        return told

    @property
    def all_sent(self) -> bool:
        return self._next == self.ledger.events

    def publish(self, share: float = 1.0) -> None:
        """Send events up to that share of all, and wait until the servers have them."""
        self._send(int(self.ledger.events * share) - self._next)
        for inlet in self.inlets:
            inlet.flush()

    @contextmanager
    def flowing(self, rate: float = 400.0) -> Iterator[None]:
        """Send so many events a second within the context; what is left stays unsent."""
        self._over.clear()
        failed: list[BaseException] = []

        def flow() -> None:
            began, first = time.monotonic(), self._next
            try:
                while not self._over.wait(STEP) and not self.all_sent:
                    due = first + int((time.monotonic() - began) * rate)
                    self._send(due - self._next)
            except BaseException as error:  # noqa: BLE001 - it is raised below
                failed.append(error)

        thread = threading.Thread(target=flow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
        if failed:
            raise failed[0]

    def lag(self) -> int:
        """Return how many are unacknowledged. Asked rarely: polling takes CPU from the daemons."""
        if time.monotonic() - self._asked > ASK_EVERY:
            self._lag = sum(inlet.lag() for inlet in self.inlets)
            self._asked = time.monotonic()
        return self._lag

    def quiet(self) -> bool:
        """Return whether all is sent and acknowledged."""
        return self.all_sent and self.lag() == 0

    def stale(self) -> list[str]:
        return self.ledger.stale(self.cache.there())

    def lost(self) -> list[Entry]:
        return self.ledger.lost(
            self.cache.there(), {letter[b"raw"] for letter in self.state.dead()}
        )

    def await_applied(self) -> None:
        """Wait until what was sent so far is applied, and acknowledged where that is possible."""

        def applied() -> bool:
            try:
                there = self.cache.there()
            except redis.RedisError:
                return False
            sent = self.ledger.entries[: self._next]
            return not any(key.encode() in there for entry in sent for key in entry.keys)

        self.await_settled()
        until_sync(applied, what="what was sent is applied")

    def await_settled(self) -> None:
        """Wait until what was sent so far is acknowledged."""
        until_sync(lambda: self.lag() == 0, what="what was sent is acknowledged")

    def _send(self, count: int) -> None:
        self._asked = 0.0
        upto = min(self._next + max(0, count), self.ledger.events)
        events = [entry.raw for entry in self.ledger.entries[self._next : upto]]
        self.sent += deal(events, self.inlets, self._rng)
        self._next = upto
