"""Tokens: one for all, a new one in time, and an old one rather than none."""

import ssl
from collections.abc import AsyncIterator

import pytest
from aiokafka.errors import KafkaConnectionError

from invalidator.sources.kafka.oauth import Tokens
from tests.backends.tokens import TokenServer, token_server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with token_server() as started:
        started.life = 100.0
        yield started


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(server: TokenServer, clock: Clock) -> Tokens:
    return Tokens(server.settings(extensions="pool=a"), ssl.create_default_context, clock)


async def test_a_token_is_asked_for_once_and_again_before_it_ends(
    server: TokenServer, tokens: Tokens, clock: Clock
) -> None:
    first = await tokens.token()
    clock.now += 79
    assert await tokens.token() == first
    clock.now += 2
    await tokens.token()
    assert len(server.asked) == 2
    assert tokens.extensions() == {"pool": "a"}


async def test_an_old_token_is_used_to_its_end_while_there_is_no_new_one(
    server: TokenServer, tokens: Tokens, clock: Clock
) -> None:
    first = await tokens.token()
    server.answer = (500, "{}")
    clock.now += 90
    assert await tokens.token() == first
    assert "status 500: no reason given" in tokens.refusal
    clock.now += 11
    with pytest.raises(KafkaConnectionError, match="no token from http"):
        await tokens.token()
    server.answer = None
    clock.now += 2
    await tokens.token()
    assert tokens.refusal == ""


async def test_a_server_that_fails_is_not_stormed(
    server: TokenServer, tokens: Tokens, clock: Clock
) -> None:
    server.answer = (500, "{}")
    for _ in range(5):
        with pytest.raises(KafkaConnectionError):
            await tokens.token()
    assert len(server.asked) == 1
    clock.now += 1
    with pytest.raises(KafkaConnectionError):
        await tokens.token()
    assert len(server.asked) == 2


async def test_a_token_that_the_brokers_refused_is_not_used_again(
    server: TokenServer, tokens: Tokens
) -> None:
    await tokens.token()
    tokens.drop()
    await tokens.token()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (302, "", "status 302 without a JSON object"),
        (200, "[]", "status 200 without a JSON object"),
        (200, "{}", "the response has no access_token"),
        (200, '{"access_token": 7}', "the response has no access_token"),
        (200, '{"access_token": "a b\\u0001"}', "the response has no access_token"),
        (400, '{"error": "invalid_scope"}', "status 400: invalid_scope"),
        (200, '{"access_token": "a", "expires_in": "soon"}', "could not convert"),
        (200, '{"access_token": "a", "expires_in": -5}', "the response says expires_in: -5"),
        (200, '{"access_token": "a", "expires_in": "nan"}', "the response says expires_in: nan"),
    ],
)
async def test_every_failure_is_one_that_the_library_survives(
    server: TokenServer, tokens: Tokens, status: int, body: str, reason: str
) -> None:
    server.answer = (status, body)
    with pytest.raises(KafkaConnectionError, match=reason):
        await tokens.token()


async def test_a_server_that_is_not_there_is_such_a_failure(tokens: Tokens) -> None:
    gone = tokens._sasl.model_copy(update={"token_url": "http://127.0.0.1:9/token"})
    alone = Tokens(gone, ssl.create_default_context)
    with pytest.raises(KafkaConnectionError, match="Connection refused"):
        await alone.token()
