"""A TCP proxy that does what networks do: delay, loss, resets, silence, replies that never come."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from tests.backends.server import free_port

T = TypeVar("T")
CHUNK = 1 << 16
_AT_ONCE = struct.pack("ii", 1, 0)  # closing sends a reset, whatever is still on its way


class Proxy:
    """Forwards to a port of this machine. What is set takes effect on the next bytes."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self.target = target
        self.port = free_port()
        self.delay = 0.0  # seconds that bytes are on their way, in each direction
        self.loss = 0.0  # the share of portions that are lost, and come again after a while
        self.silent = False  # half-open: connections stand, and nothing passes
        self.deaf = False  # connections are refused, those that stand are reset
        self.swallow_replies = 0  # so many more replies are lost: the connection is reset instead
        self.reset_within = 0  # so many more bytes of requests pass; then a reset
        self.swallowed = self.resets = 0
        self._rng = rng
        self._links: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Reset all open connections."""
        self._call(self._reset_all)

    def heal(self) -> None:
        """End all trouble. Connections that were silent are reset: their bytes were lost."""
        was_silent, self.silent = self.silent, False
        self.delay = self.loss = 0.0
        self.deaf = False
        self.swallow_replies = self.reset_within = 0
        if was_silent:
            self.reset()

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._link, "127.0.0.1", self.port)

    async def _end(self) -> None:
        self._server.close()
        await self._reset_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(60)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: two directions, which end together."""
        self._links.add(writer)
        back: asyncio.StreamWriter | None = None
        try:
            if self.deaf:
                return
            from_server, back = await asyncio.open_connection("127.0.0.1", self.target)
            self._links.add(back)
            ways = [
                asyncio.create_task(self._carry(reader, back, self._lets_request_pass)),
                asyncio.create_task(self._carry(from_server, writer, self._lets_reply_pass)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except OSError:
            pass  # nobody listens there for now
        finally:
            for end in filter(None, (writer, back)):
                self._links.discard(end)
                _reset(end)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: Callable[[bytes], bool],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._travel()
                if not passes(data) or self.deaf:
                    return
                writer.write(data)
                await writer.drain()

    async def _travel(self) -> None:
        while self.silent:  # noqa: ASYNC110 - it is set from another thread
            await asyncio.sleep(0.02)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.loss and self._rng.random() < self.loss:
            await asyncio.sleep(0.2 * self._rng.randint(1, 4))  # sent again, as TCP does

    def _lets_request_pass(self, data: bytes) -> bool:
        if not self.reset_within:
            return True
        self.reset_within = max(0, self.reset_within - len(data))
        self.resets += not self.reset_within
        return bool(self.reset_within)

    def _lets_reply_pass(self, data: bytes) -> bool:
        if not self.swallow_replies:
            return True
        self.swallow_replies -= 1
        self.swallowed += 1
        return False

    async def _reset_all(self) -> None:
        for link in [*self._links]:
            self._links.discard(link)
            _reset(link)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
