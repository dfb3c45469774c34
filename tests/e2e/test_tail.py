"""`invalidator tail` with a running daemon."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import PROGRAM, clean_environment
from tests.integration.piping import order

if TYPE_CHECKING:
    import redis


@contextmanager
def tailing(url: str, *words: str) -> Iterator[IO[str]]:
    process = subprocess.Popen(
        [PROGRAM, "tail", *words],
        env=clean_environment({"REDIS_URL": url}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with closing(process.stdout) as lines:
        try:
            yield lines
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def test_invalidations_are_printed_live(
    run_daemon: RunDaemon, redis_url: str, redis_now: "redis.Redis"
) -> None:
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()

    def publish_until_heard(lines: IO[str]) -> str:
        """Wait for the next heartbeat, by which the daemon notices a listener."""
        until_sync(lambda: dict(redis_now.pubsub_numsub("invalidator:applied")).popitem()[1])
        until_sync(lambda: "invalidator_listeners 1.0" in daemon.admin("/metrics")[1])
        redis_now.publish("orders", order(1))
        return lines.readline()

    with tailing(redis_url, "--count", "1") as lines:
        assert "default  keys      order:single:o1  pubsub" in publish_until_heard(lines)
    with tailing(redis_url, "--json", "--count", "1") as lines:
        (gap, said) = publish_until_heard(lines), lines.readline()
        assert json.loads(gap)["gap"] == "new"
        assert json.loads(said)["names"] == ["order:single:o1"]
        assert json.loads(said)["rules"] == daemon.events("started")[0]["rules"]
    assert daemon.stop() == 0
