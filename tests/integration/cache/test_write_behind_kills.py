"""SIGKILL at random moments loses no count, and adds none twice."""

import json
import subprocess
import sys

import pytest

from tests.backends.redis_server import RedisServer


def killed(server: RedisServer, postgres: str, *more: str) -> dict[str, int]:
    words = ["--redis", server.url, "--postgres", postgres, *more]
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.cache.kills", *words],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    print(found)
    return found


def test_a_crash_loses_no_count_and_adds_none_twice(server: RedisServer, postgres: str) -> None:
    found = killed(server, postgres, "--kills", "20")
    assert (found["lost"], found["twice"]) == (0, 0), found
    assert found["calls"]


@pytest.mark.slow
def test_a_thousand_crashes_lose_no_count_and_add_none_twice(
    server: RedisServer, postgres: str
) -> None:
    found = killed(server, postgres, "--kills", "1000")
    assert (found["lost"], found["twice"]) == (0, 0), found
    assert found["repeats"], "no process was killed between a commit and the removal"


@pytest.mark.slow
def test_a_function_that_ignores_the_token_counts_twice(server: RedisServer, postgres: str) -> None:
    found = killed(server, postgres, "--kills", "300", "--forgetful")
    assert found["lost"] == 0, found
    assert found["twice"], found
