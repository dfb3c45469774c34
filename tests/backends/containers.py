"""The last resort: servers in containers, where a Docker engine answers."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

REDIS_IMAGE = "redis:7.4.1-alpine"
KAFKA_IMAGE = "confluentinc/cp-kafka:7.6.0"  # testcontainers starts Confluent's image only


def docker_answers() -> bool:
    with warnings.catch_warnings():
        # the client leaves its socket open when nobody answers: let it go here and now
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _ping()
        gc.collect()
    return answers


def _ping() -> bool:
    import docker

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def redis_container() -> Iterator[str]:
    """Yield the URL of a Redis."""
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(REDIS_IMAGE) as container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(6379)
        yield f"redis://{host}:{port}/0"


@contextmanager
def kafka_container() -> Iterator[str]:
    """Yield the bootstrap address of a broker."""
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer(KAFKA_IMAGE).with_kraft() as container:
        yield container.get_bootstrap_server()
