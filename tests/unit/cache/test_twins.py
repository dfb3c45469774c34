"""What asyncio has, threads have: the same methods, with the same parameters."""

import inspect
from typing import Any

import pytest

from invalidator.cache import (
    Cache,
    Cached,
    LoadContext,
    SyncCache,
    SyncCached,
    SyncLoadContext,
    SyncWriting,
    Writing,
)
from invalidator.cache.asyncio_driver import Driver
from invalidator.cache.thread_driver import SyncDriver

TWINS = [
    (Cache, SyncCache),
    (Cached, SyncCached),
    (Driver, SyncDriver),
    (LoadContext, SyncLoadContext),
    (Writing, SyncWriting),
]
# A load of asyncio runs in a task of its own, which may be cancelled.
TASKS = {"_fly", "_landed", "_cancelled", "_spawn", "send_whatever_happens"}
ENTERING = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def _methods(owner: type) -> dict[str, list[str]]:
    """Return the methods of a class by their names, with their parameters."""
    found: dict[str, list[str]] = {}
    for name, method in vars(owner).items():
        plain: Any = getattr(method, "__func__", method)  # of a class method
        if inspect.isfunction(plain):
            found[ENTERING.get(name, name)] = list(inspect.signature(plain).parameters)
    return found


@pytest.mark.parametrize(("one", "other"), TWINS, ids=lambda each: each.__name__)
def test_both_worlds_have_the_same_methods(one: type, other: type) -> None:
    ours = {name: given for name, given in _methods(one).items() if name not in TASKS}
    theirs = _methods(other)
    if one is Cache:  # whose commands have a timeout besides the client's
        ours["__init__"].remove("timeout")
    assert ours == theirs
