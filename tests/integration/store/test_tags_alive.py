"""Tags that take long."""

from collections.abc import Sequence
from functools import partial

import redis

from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server
from invalidator.runtime.health import Part, Pulse
from invalidator.runtime.retry import until_available
from invalidator.targets.redis.tags import Tags
from tests.integration.store.test_tags import SET, left, put


async def test_whoever_waits_for_a_large_set_is_alive_all_the_time(
    server: Server, redis_now: "redis.Redis"
) -> None:
    now = 0.0
    pulse, oldest = Pulse("outflow", lambda: now), 0.0

    async def slowly(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        nonlocal now, oldest
        oldest = max(oldest, now - pulse.last)
        now += 10.0
        return redis_now.unlink(*keys), {}

    put(redis_now, "tag:a", *(f"key:{number}" for number in range(20_000)))
    consume = partial(Tags(server, [SET], slowly).consume, ["a"])
    await until_available(consume, Part("cache"), pulse=pulse)
    assert now > 180
    assert oldest <= 10.0
    assert left(redis_now) == set()
