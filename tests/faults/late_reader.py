"""A reader that writes an old row back after its key was deleted: what `repeat_after` is for."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Self

import redis

EVERY = 0.05  # seconds


class LateReader:
    """Writes each key once more, as soon as it is gone.

    The second pass comes `repeat_after` seconds after the first. A key is only written when it was
    seen less than `within` before, so that the second pass is certainly still to come. On a busy
    machine some are left out, and none is written too late.
    """

    def __init__(
        self,
        keys: Iterable[str],
        connect: Callable[[], AbstractContextManager[redis.Redis]],
        within: float,
    ) -> None:
        self.written = 0
        self._seen = dict.fromkeys(keys, 0.0)  # when each was there, of those not yet written
        self._doubtful: set[str] = set()  # nobody knows whether, or when, these were written
        self._connect = connect
        self._within = within
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Write nothing from now on."""
        self._over.set()
        self._thread.join()

    def _read_on(self) -> None:
        while not self._over.wait(EVERY) and (self._seen or self._doubtful):
            try:
                with self._connect() as client:
                    self._look_while_it_answers(client)
            except (redis.RedisError, OSError):
                continue

    def _look_while_it_answers(self, client: redis.Redis) -> None:
        while not self._over.wait(EVERY) and (self._seen or self._doubtful):
            if self._doubtful:
                client.delete(*self._doubtful)
                self._doubtful.clear()
            self._look(client)

    def _look(self, client: redis.Redis) -> None:
        now = time.monotonic()
        with client.pipeline(transaction=False) as pipe:
            for key in self._seen:
                pipe.exists(key)
            found: Any = pipe.execute()
        for key, there in zip([*self._seen], found, strict=True):
            if there:
                self._seen[key] = now
            else:
                self._write(client, key, self._seen.pop(key))

    def _write(self, client: redis.Redis, key: str, seen: float) -> None:
        if time.monotonic() - seen > self._within:
            return
        self._doubtful.add(key)
        client.set(key, "an old row")
        if time.monotonic() - seen <= self._within:
            self._doubtful.remove(key)
            self.written += 1
