"""The driver of Python's client: reads requests from stdin, and answers on stdout."""

import asyncio
import json
import sys
from base64 import b64decode, b64encode
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from invalidator.cache import Cache, Kind, Kinds
from invalidator.cache.entry import Frame, Names, id_of, lease_of
from invalidator.cache.render import Layout, renderer


class Client:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._given: dict[int, asyncio.Future[Any]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            message = json.loads(line)
            if "give" in message:
                self._given.pop(message["id"]).set_result(message["give"])
                continue
            task = asyncio.create_task(self._answer(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await self._cache.close()

    async def _answer(self, message: dict[str, Any]) -> None:
        number = message.pop("id")
        try:
            done = await getattr(self, f"_{message.pop('do')}")(number, **message)
        except Exception as error:  # noqa: BLE001 - the suite judges it
            say({"id": number, "error": f"{type(error).__name__}: {error}"})
        else:
            say({"id": number, "done": done})

    async def _call(self, number: int) -> Any:
        self._given[number] = asyncio.get_running_loop().create_future()
        say({"id": number, "call": True})
        return await self._given[number]

    async def _hello(self, _: int) -> str:
        return "python"

    async def _hits(self, _: int) -> int:
        return self._cache.stats.hits

    async def _read(self, number: int, key: str, tags: list[str], versions: list[str]) -> Any:
        async def load(_: Any) -> Any:
            return await self._call(number)

        return await self._cache.get_or_load(key, load, tags=tags, versions=versions)

    async def _write(self, number: int, key: str, tags: list[str], versions: list[str]) -> Any:
        async with self._cache.writing(key, tags=tags, versions=versions) as write:
            write.value = await self._call(number)
        return write.value

    async def _invalidate(self, _: int, names: list[str]) -> None:
        await self._cache.invalidate(*names)

    async def _invalidate_tags(self, _: int, names: list[str]) -> None:
        await self._cache.invalidate_tags(*names)

    async def _bump(self, _: int, names: list[str]) -> None:
        await self._cache.bump(*names)

    async def _render(self, _: int, template: str, values: dict[str, Any]) -> str:
        parameters = ", ".join(values)
        scope: dict[str, Any] = {}
        exec(f"def function({parameters}): ...", scope)  # noqa: S102 - names of a vector
        layout = Layout("", "{tag}", "{name}")
        return renderer(scope["function"], template, (), (), layout)(**values)[0]

    async def _frame(self, _: int, payload: str, line: list[str], **fields: Any) -> str:
        names = Names("key", tuple(line[::2]))
        text = names.line([stamp.encode() for stamp in line[1::2]])
        assert text is not None
        codec, token = fields.pop("codec").encode(), fields.pop("token").encode()
        schema = fields.pop("schema").encode()
        frame = Frame(b64decode(payload), codec, token, text, schema=schema, **fields)
        return b64encode(frame.encoded()).decode()

    async def _head(self, _: int, entry: str) -> dict[str, Any]:
        raw = b64decode(entry)
        lease = lease_of(raw)
        found = {"id": id_of(raw).decode(), "lease": lease.token.decode() if lease else None}
        return {**found, "lease_until": lease.until if lease else None}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    kinds = Kinds(default=Kind(lease="2s", wait="20s"))
    if url.startswith("redis+cluster://"):
        host, port = url.removeprefix("redis+cluster://").split(":")
        cluster = RedisCluster(host=host, port=int(port))
        cache = Cache(cluster, kinds=kinds, timeout=10.0)
    else:
        cache = Cache(Redis.from_url(url), kinds=kinds, timeout=10.0)
    await Client(cache).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
