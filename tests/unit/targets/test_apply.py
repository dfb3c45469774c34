"""Which name a failure is put down to."""

from collections.abc import Sequence

from invalidator.model import Failure, Names
from invalidator.redisclient.errors import Meaning, Verdict
from invalidator.redisclient.server import Server
from invalidator.rules.rule import Cache, Layout
from invalidator.runtime.health import Part
from invalidator.targets.redis.apply import CacheStore
from invalidator.targets.redis.keys import Key
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.walk import Node


class Refusing:
    """Deletes no key."""

    async def unlink(self, keys: Sequence[Key]) -> tuple[int, dict[Key, Verdict]]:
        return 0, {key: Verdict(Meaning.PERMANENT, "noperm", f"no {key!r}") for key in keys}


async def no_nodes() -> Sequence[Node]:
    return []


async def test_a_stamp_that_cannot_be_deleted_is_a_failure_of_its_tag() -> None:
    cache = Cache("default", layouts=(Layout("stamp", "stamp:{tag}"),))
    server = Server(None, "cache")  # type: ignore[arg-type]  # stamps are deleted as keys
    store = CacheStore(cache, server, Refusing(), Sweeper(no_nodes, Matcher([]), Part("sweeps")))
    outcome = await store.apply(Names(keys={"k"}, tags={"t"}))
    assert sorted(outcome.failures, key=lambda failure: failure.kind) == [
        Failure("default", "keys", "k", "noperm", "no 'k'"),
        Failure("default", "tags", "t", "noperm", "no 'stamp:t'"),
    ]
