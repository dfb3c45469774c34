"""Real backends for tests. The servers are shared; what is in them is each test's own."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest
import redis
import structlog
from hypothesis import settings

from tests.backends.choose import (
    NO_OWN_KAFKA,
    NO_OWN_REDIS,
    NO_POSTGRES,
    kafka_backend,
    missing,
    redis_backend,
)
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.backends.kafka_secure import SecureBroker
from tests.backends.leaks import Leaks
from tests.backends.postgres import PostgresServer
from tests.backends.redis_cluster import RedisCluster
from tests.backends.redis_sentinel import Watched
from tests.backends.redis_server import RedisServer
from tests.backends.shared import shared

settings.register_profile("any_machine", deadline=None)  # a busy one proves nothing
settings.load_profile("any_machine")

StartRedis = Callable[..., RedisServer]
StartKafka = Callable[..., KafkaBroker]
StartCluster = Callable[..., RedisCluster]
StartSentinel = Callable[..., Watched]


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs lay out what they print for the terminal, and tests have none; workers set COLUMNS."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Restore the configuration of logs: a verb that ran in this process has changed it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[str]:
    """Yield the URL of the Redis that tests share."""
    with redis_backend() as url:
        with redis.Redis.from_url(url, protocol=2) as client:
            # tests empty it again and again: never one that somebody needs
            assert client.dbsize() == 0, "TEST_REDIS_URL names a database that is not empty"
        yield url


@pytest.fixture
def redis_leaks(shared_redis: str) -> Iterator[Leaks]:
    with redis.Redis.from_url(shared_redis, protocol=2, single_connection_client=True) as client:
        client.flushdb()
        leaks = Leaks(client, connections="TEST_REDIS_URL" not in os.environ)
        yield leaks
        try:
            leaks.check()
        finally:
            client.flushdb()


@pytest.fixture
def redis_url(shared_redis: str, redis_leaks: Leaks) -> str:
    """Return an empty Redis. Afterwards, undeclared keys and open connections are errors."""
    assert redis_leaks.client.dbsize() == 0
    return shared_redis


@pytest.fixture
def redis_now(redis_leaks: Leaks, redis_url: str) -> redis.Redis:
    """Return a synchronous client of `redis_url`, to prepare and to inspect."""
    return redis_leaks.client


@pytest.fixture
def allow_keys(redis_leaks: Leaks) -> Callable[..., None]:
    """`allow_keys("invalidator:dead")`: names or globs of our own keys that may stay."""
    return lambda *names: redis_leaks.allowed.extend(names)


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the broker that tests share."""
    with shared(tmp_path_factory.getbasetemp(), kafka_backend) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def kafka(kafka_bootstrap: str) -> Kafka:
    """Topics, records and offsets on the shared broker; `kafka.topic()` is the test's own."""
    return Kafka(kafka_bootstrap)


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[SecureBroker]:
    """Yield a broker that requires passwords, certificates or tokens."""
    if not SecureBroker.available():
        missing(NO_OWN_KAFKA)
    with SecureBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    """Yield the PostgreSQL that the tests of this process share."""
    if not PostgresServer.available():
        missing(NO_POSTGRES)
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(shared_postgres: PostgresServer) -> str:
    """Return the URL of an empty database."""
    shared_postgres.empty()
    return shared_postgres.url


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """`start_redis(port=None, config={...})`: a private redis-server, to be mistreated."""
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with ExitStack() as stack:

        def start(
            port: int | None = None, config: Mapping[str, str | Sequence[str]] | None = None
        ) -> RedisServer:
            return stack.enter_context(RedisServer(port, config))

        yield start


@pytest.fixture
def start_kafka() -> Iterator[StartKafka]:
    """`start_kafka(port=None, config={...})`: a private broker, to be mistreated."""
    if not KafkaBroker.available():
        missing(NO_OWN_KAFKA)
    with ExitStack() as stack:

        def start(port: int | None = None, config: Mapping[str, str] | None = None) -> KafkaBroker:
            return stack.enter_context(KafkaBroker(port, config))

        yield start


@pytest.fixture
def start_sentinel() -> Iterator[StartSentinel]:
    """`start_sentinel(config={...})`: primary, replica, three sentinels, to be mistreated."""
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with ExitStack() as stack:
        yield lambda *config, **more: stack.enter_context(Watched(*config, **more))


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisCluster]:
    """Yield three primaries and three replicas that tests share; none may be stopped."""
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    """Return an empty cluster whose nodes agree. A test that moves slots moves them back."""
    shared_cluster.await_agreement()
    shared_cluster.empty()
    return shared_cluster


@pytest.fixture
def start_cluster() -> Iterator[StartCluster]:
    """`start_cluster(primaries=3, replicas=3, config={...})`: a cluster, to be mistreated."""
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with ExitStack() as stack:
        yield lambda *sizes, **more: stack.enter_context(RedisCluster(*sizes, **more))
