"""A batch of Kafka records that cannot be read."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.cli import main
from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.kafka_log import PartitionLog, with_codec
from tests.backends.kafka_secure import SecureBroker
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import order

if TYPE_CHECKING:
    import redis


def test_an_unreadable_batch_is_a_dead_letter_before_it_is_passed_over(
    run_daemon: RunDaemon,
    secure_kafka: SecureBroker,
    redis_url: str,
    redis_now: "redis.Redis",
    allow_keys: Callable[..., None],
    rules_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    allow_keys("invalidator:dead")
    kafka, group = Kafka(secure_kafka.bootstrap), unique("group")
    topic = kafka.topic()
    kafka.produce(topic, [order(1)])
    kafka.produce(topic, [order(2)])
    log = PartitionLog(secure_kafka, topic, 0)
    log.write(0, with_codec(log.read(), 7))
    redis_now.set("invalidator:dead", "no stream: nothing can be put into it")
    redis_now.set("order:single:o2", "stale")
    daemon = run_daemon(
        REDIS_URL=redis_url,
        KAFKA__BOOTSTRAP_SERVERS=secure_kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=group,
        KAFKA__START="earliest",
    )
    until_sync(lambda: not redis_now.exists("order:single:o2"), what="what lies behind is applied")
    until_sync(lambda: "dead letters" in daemon.admin("/readyz")[1])
    assert kafka.committed(group, topic) == {0: 0}
    redis_now.delete("invalidator:dead")
    until_sync(lambda: kafka.committed(group, topic) == {0: 2})
    entries: Any = redis_now.xrange("invalidator:dead")
    ((_, entry),) = entries
    assert (entry[b"error"], entry[b"position"]) == (b"unreadable-batch", b"0@0")
    assert b"odec" in entry[b"message"]
    assert order(1) in entry[b"raw"]
    assert daemon.stop() == 0
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", redis_url)
    monkeypatch.setenv("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS", secure_kafka.bootstrap)
    monkeypatch.setenv("INVALIDATOR_KAFKA__TOPICS", topic)
    again = ["replay", "--topic", topic, "--partition", "0", "--rules", str(rules_file)]
    assert main([*again, "--offset", "0"]) == 2
    assert f"cannot be read ({topic}-0 at 0)" in capsys.readouterr().err
    assert main([*again, "--offset", "1"]) == 0
