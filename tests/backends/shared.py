"""One server for all processes of a test run: the first one starts it and ends it last."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from tests.backends.waiting import until_sync

Start = Callable[[], AbstractContextManager[str]]
FOR_ALL = 3600.0  # seconds that the other processes may go on for


@contextmanager
def shared(own: Path, start: Start) -> Iterator[str]:
    """Yield the address of what `start` starts, here or in another process of the test run.

    `own` is a folder of this process; the processes of one run have theirs side by side.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        with start() as address:
            yield address
        return
    folder = own.parent / start.__name__
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock, (folder / "users").open("w") as users:
        yield from _share(folder / "address", lock, users, start)


def _share(place: Path, lock: IO[str], users: IO[str], start: Start) -> Iterator[str]:
    with _alone(lock):
        fcntl.flock(users, fcntl.LOCK_SH)
        if place.exists():
            started = None
        else:
            started = start()
            place.write_text(started.__enter__())
    try:
        yield place.read_text()
    finally:
        if started is None:
            fcntl.flock(users, fcntl.LOCK_UN)
        else:
            until_sync(lambda: _given_up(place, lock, users), FOR_ALL, "nobody uses it any more")
            started.__exit__(None, None, None)


def _given_up(place: Path, lock: IO[str], users: IO[str]) -> bool:
    """Return whether nobody else uses it, and hide it from then on."""
    with _alone(lock):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        place.unlink()
        return True


@contextmanager
def _alone(lock: IO[str]) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
