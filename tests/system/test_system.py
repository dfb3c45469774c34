"""No read that began after an invalidation was applied returns an older row, whatever happens."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.backends.choose import NO_OWN_REDIS, NO_POSTGRES, missing
from tests.backends.postgres import PostgresServer
from tests.backends.redis_server import RedisServer


@pytest.fixture(autouse=True)
def _servers() -> None:
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    if not PostgresServer.available():
        missing(NO_POSTGRES)


def run(kafka: str, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.run", "--kafka", kafka, *words],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    print(found)
    return found


def test_no_read_is_older_than_what_was_applied(kafka_bootstrap: str) -> None:
    found = run(kafka_bootstrap, "--faults", "4", "--pause", "0.5", "--reads", "2000")
    assert not found["stale"], found
    assert found["announced"], found


def test_plain_cache_aside_serves_older_rows(kafka_bootstrap: str) -> None:
    found = run(kafka_bootstrap, "--calm", "--aside", "--until-stale", "--seconds", "60")
    assert found["stale"], found


@pytest.mark.slow
def test_no_read_of_a_million_is_older_than_what_was_applied(kafka_bootstrap: str) -> None:
    found = run(kafka_bootstrap, "--reads", "1000000", "--seconds", "120")
    assert not found["stale"], found
    assert found["refused"], "no stale fill was attempted"
