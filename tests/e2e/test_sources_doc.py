"""What docs/sources.md tells publishers to do is done here, up to the key that is gone."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
CODE: dict[str, Any] = {}
for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
    exec(compile(block, "docs/sources.md", "exec"), CODE)


@pytest.fixture
def daemon(redis_url: str, run_daemon: RunDaemon) -> Any:
    settings = {"STREAMS__KEYS": "orders", "PUBSUB__CHANNELS": "orders"}
    return run_daemon(REDIS_URL=redis_url, **settings).await_ready()


@pytest.fixture
def shop() -> Any:
    """Yield a database with one order."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT NOT NULL)")
    db.execute(CODE["OUTBOX"])
    db.execute("INSERT INTO orders VALUES ('o1', 'new')")
    db.commit()
    yield db
    db.close()


def is_gone(now: "redis.Redis") -> bool:
    return not now.exists("order:single:o1")


def dies_after_publishing(redis_now: "redis.Redis") -> Any:
    class Dies:
        def xadd(self, *words: Any, **more: Any) -> None:
            redis_now.xadd(*words, **more)
            raise KeyboardInterrupt

    return Dies()


@pytest.mark.usefixtures("daemon")
def test_what_is_published_as_the_page_says_is_applied(
    redis_now: "redis.Redis", shop: sqlite3.Connection
) -> None:
    for way in ("publish_to_stream", "publish_to_channel"):
        redis_now.set("order:single:o1", "stale")
        CODE[way](redis_now, "order.updated", {"orderId": "o1"})
        until_sync(lambda: is_gone(redis_now), what=way)

    # the outbox tells what was committed, once
    redis_now.set("order:single:o1", "stale")
    CODE["set_status"](shop, "o1", "paid")
    assert CODE["relay"](shop, redis_now) == 1
    until_sync(lambda: is_gone(redis_now))
    assert CODE["relay"](shop, redis_now) == 0

    # and once more, where its relay dies on the way
    before = redis_now.xlen("orders")
    CODE["set_status"](shop, "o1", "sent")
    with pytest.raises(KeyboardInterrupt):
        CODE["relay"](shop, dies_after_publishing(redis_now))
    redis_now.set("order:single:o1", "stale")
    assert CODE["relay"](shop, redis_now) == 1
    assert redis_now.xlen("orders") == before + 2
    until_sync(lambda: is_gone(redis_now))


def test_the_outbox_publishes_nothing_that_was_rolled_back(
    redis_now: "redis.Redis", shop: sqlite3.Connection
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        CODE["set_status"](shop, "o1", None)
    assert CODE["relay"](shop, redis_now) == 0
    assert not redis_now.exists("orders")
