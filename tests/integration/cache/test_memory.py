"""The memory of a cache that needs no Redis does what a real Redis does."""

import random
from typing import Any

import pytest
import redis

from invalidator.cache import scripts
from invalidator.cache.entry import Frame, Names
from invalidator.cache.memory import Memory
from invalidator.cache.scripts import Command, with_source
from tests.conftest import StartRedis

KEYS = ("a", "b")
TOKENS = (b"A" * 16, b"B" * 16, b"~" + b"C" * 15)
IDS = (b"", *TOKENS)
LINES = (Names("k"), Names("k", ("s:1",)), Names("k", ("s:1", "s:2")))


def entry(draw: random.Random, token: bytes) -> tuple[bytes, list[bytes]]:
    names = draw.choice(LINES)
    line = names.line([b"x" * 16 for _ in names.stamps]) or b""
    frame = Frame(
        b"1",
        b"J-",
        token,
        line,
        1e12,
        absent=draw.random() < 0.2,
        row=draw.choice([0, 0, 3, 5]),
    )
    return frame.encoded(), names.parts


def command(draw: random.Random) -> Command:
    key, token = draw.choice(KEYS), draw.choice(TOKENS)
    framed, parts = entry(draw, token)
    long = 10_000_000
    choices: list[Command] = [
        scripts.LEASE(key, token, draw.choice([0, long]), long, draw.choice(IDS), _mode(draw)),
        scripts.LEASE(key, token, draw.choice([0, long]), long, draw.choice(IDS), _mode(draw)),
        scripts.PUT(key, token, framed, long),
        scripts.FINISH(key, token, framed, long, *parts),
        scripts.REPLACE(key, b"%016d" % draw.choice([2, 4, 6]), framed, long),
        scripts.RELEASE(key, token, draw.choice([0, long])),
        scripts.EXPIRE(key),
        scripts.STAMP(f"stamp:{key}", token, long),
        ("UNLINK", draw.choice([key, f"stamp:{key}"])),
        ("GETRANGE", key, 30, 45),
    ]
    return draw.choice(choices)


def _mode(draw: random.Random) -> str:
    return draw.choice(["miss", "refresh", "write"])


def told(reply: Any) -> Any:
    """Return a reply without times, which differ."""
    return reply[0] if isinstance(reply, list) else reply


def shown(value: bytes | None) -> Any:
    """Return an entry without times: whether each lies in the future."""
    if value is None or len(value) < 99:
        return value
    now = 1_500_000_000_000
    return value[:47], int(value[47:60]) > now, int(value[61:74]) > now, value[74:]


@pytest.fixture
def client(start_redis: StartRedis) -> Any:
    with redis.Redis.from_url(start_redis().url) as client:
        yield client


@pytest.mark.parametrize("seed", range(4))
def test_every_reply_is_that_of_redis(client: Any, seed: int) -> None:
    draw = random.Random(seed)
    now = client.time()
    memory = Memory(lambda: now[0] + now[1] / 1e6)
    for number in range(500):
        asked = command(draw)
        theirs = client.execute_command(*(with_source(asked) if asked[0] == "EVALSHA" else asked))
        assert (number, asked, told(memory.run(asked))) == (number, asked, told(theirs))
        for key in KEYS:
            assert (number, asked, shown(memory.get(key))) == (
                number,
                asked,
                shown(client.get(key)),
            )


def test_versions_grow_whatever_the_clock_says() -> None:
    memory = Memory(lambda: 1000.0)
    first = int(memory.version("v"))
    assert int(memory.version("v")) == first == 1_000_000_000
    assert [int(memory.bump("v")) for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_what_has_a_life_ends_with_it() -> None:
    now = 1000.0
    memory = Memory(lambda: now)
    memory.run(scripts.STAMP("s", b"A" * 16, 5000))
    now = 1004.9
    assert memory.get("s")
    now = 1005.0
    assert memory.get("s") is None
