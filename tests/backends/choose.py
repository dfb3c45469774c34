"""Choose a server for a test: one from the environment, a local one, a container, or none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.backends.containers import docker_answers, kafka_container, redis_container
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.redis_server import RedisServer

NO_REDIS = "no Redis: install redis-server, set TEST_REDIS_URL, or start Docker"
NO_KAFKA = (
    "no Kafka: install Java 17 or newer and Maven (Debian: default-jre-headless, maven), "
    "set TEST_KAFKA_BOOTSTRAP, or start Docker"
)
NO_OWN_REDIS = "this test starts a redis-server of its own: install redis-server"
NO_POSTGRES = "this test starts a PostgreSQL of its own: install postgresql"
NO_OWN_KAFKA = (
    "this test starts a Kafka broker of its own: install Java 17 or newer and Maven "
    "(Debian: default-jre-headless, maven)"
)


def missing(message: str) -> None:
    """Skip the test, or fail it where every backend is required."""
    if os.environ.get("REQUIRE_BACKENDS") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextmanager
def redis_backend() -> Iterator[str]:
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
    elif RedisServer.available():
        with RedisServer() as server:
            yield server.url
    elif docker_answers():
        with redis_container() as url:
            yield url
    else:
        missing(NO_REDIS)


@contextmanager
def kafka_backend() -> Iterator[str]:
    if bootstrap := os.environ.get("TEST_KAFKA_BOOTSTRAP"):
        yield bootstrap
    elif KafkaBroker.available():
        with KafkaBroker() as broker:
            yield broker.bootstrap
    elif docker_answers():
        with kafka_container() as bootstrap:
            yield bootstrap
    else:
        missing(NO_KAFKA)
