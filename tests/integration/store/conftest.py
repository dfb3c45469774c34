from collections.abc import AsyncIterator

import pytest

from invalidator.redisclient import client
from invalidator.redisclient.server import Server


@pytest.fixture
async def server(redis_url: str) -> AsyncIterator[Server]:
    async with client(redis_url, 2.0) as connected:
        yield Server(connected, "cache")
