"""The events of a row on their way: at once, or steadily while something breaks."""

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
        """What a daemon must be told."""
        told = {"REDIS_URL": self.cache.url, "BATCH__MAX_EVENTS": "200"}
        for inlet in self.inlets:
            told |= inlet.settings
        return told

    @property
    def all_sent(self) -> bool:
        return self._next == self.ledger.events

    def publish(self, share: float = 1.0) -> None:
        """Up to that share of all events, at once; the servers have them then."""
        self._send(int(self.ledger.events * share) - self._next)
        for inlet in self.inlets:
            inlet.flush()

    @contextmanager
    def flowing(self, rate: float = 400.0) -> Iterator[None]:
        """So many events in a second, for as long as it takes; what is left then stays unsent."""
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
        """Asked now and then only: whoever polls it takes the processor from those who work."""
        if time.monotonic() - self._asked > ASK_EVERY:
            self._lag = sum(inlet.lag() for inlet in self.inlets)
            self._asked = time.monotonic()
        return self._lag

    def quiet(self) -> bool:
        """All is sent, and all of it acknowledged."""
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
