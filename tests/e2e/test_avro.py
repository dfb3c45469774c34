"""A daemon on a topic of Avro, with a schema registry that is down at first."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis

from tests.backends import until
from tests.backends.kafka_client import Kafka, unique
from tests.backends.registry import SchemaRegistry, avro, schema_registry
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import dead_letters
from tests.pages import TOP, Page

EVENT = {"orderId": "o1", "customerId": "c7"}


@pytest.fixture
async def registry() -> AsyncIterator[SchemaRegistry]:
    async with schema_registry() as server:
        yield server


@pytest.fixture
def documented_rules(rules_file: Path) -> None:
    page = Page(TOP / "docs" / "kafka.md")
    (rules,) = (block.text for block in page.blocks if "avro-record" in block.text)
    rules_file.write_text(rules)


@pytest.mark.parametrize(("kind", "frame"), [("confluent", ">bI"), ("apicurio", ">bQ")])
async def test_rules_over_avro_wait_for_the_registry_and_bury_what_it_does_not_know(
    run_daemon: RunDaemon,
    documented_rules: None,
    registry: SchemaRegistry,
    kafka: Kafka,
    redis_url: str,
    redis_now: redis.Redis,
    allow_keys: Callable[..., None],
    kind: str,
    frame: str,
) -> None:
    allow_keys("invalidator:dead")
    topic = kafka.topic()
    redis_now.mset({"order:single:o1": "stale", "order:single:o2": "stale"})
    registry.add(7)
    registry.down = True
    daemon = run_daemon(
        REDIS_URL=redis_url,
        KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap,
        KAFKA__TOPICS=topic,
        KAFKA__GROUP_ID=unique("group"),
        KAFKA__START="earliest",
        KAFKA__REGISTRY__URL=registry.url,
        KAFKA__REGISTRY__FORMAT=kind,
    )
    events = [(7, EVENT), (99, EVENT), (7, EVENT | {"orderId": "o2"})]
    kafka.produce(topic, [avro(number, event, frame=frame) for number, event in events])
    await until(lambda: registry.asked and "schema registry" in daemon.admin("/readyz")[1])
    assert redis_now.exists("order:single:o1", "order:single:o2") == 2
    registry.down = False
    await until(lambda: not redis_now.exists("order:single:o1", "order:single:o2"))
    await until(lambda: daemon.admin("/readyz")[0] == 200)
    await until(lambda: len(dead_letters(redis_now)) == 1)
    (letter,) = dead_letters(redis_now)
    assert letter["error"] == "unknown-schema"
    assert await asyncio.to_thread(daemon.stop) == 0
