"""What reads streams past any group."""

import contextlib
from collections.abc import Sequence

from redis.exceptions import RedisError

from invalidator.model import Batch
from invalidator.redisclient import Client
from invalidator.sources.source import Lag, WithoutBrake
from invalidator.sources.stream.server import Server


class Onlooker(WithoutBrake):
    """Acknowledges nothing, and writes nothing anywhere."""

    name = "stream"
    forgets = False

    def __init__(self, client: Client, keys: Sequence[str]) -> None:
        self._client = client
        self._server = Server(client, self.name)
        self._keys = keys
        self._stopped = False

    async def settle(self, batch: Batch) -> None:
        """Nothing is acknowledged."""

    def lag(self) -> Lag:
        return {}  # without a group, Redis does not say

    async def keep_alive(self) -> None:
        """Nobody waits for us."""

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()
