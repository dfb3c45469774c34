"""Plain cache-aside, as many services have it: what is missing is loaded, and then set."""

from typing import Any, Final

import orjson

TTL: Final = 300


class Aside:
    """In place of `Cache`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def get_or_load(self, key: str, load: Any, **_: Any) -> Any:
        found = await self._client.get(key)
        if found is not None:
            return orjson.loads(found)
        row = await load(None)
        await self._client.set(key, orjson.dumps(row), ex=TTL)
        return row


class SyncAside:
    """In place of `SyncCache`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_or_load(self, key: str, load: Any, **_: Any) -> Any:
        found = self._client.get(key)
        if found is not None:
            return orjson.loads(found)
        row = load(None)
        self._client.set(key, orjson.dumps(row), ex=TTL)
        return row
