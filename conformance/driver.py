"""A client under test: a process that speaks the driver protocol (conformance/README.md)."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from conformance.schedules import Loader

WITHIN: Final = 60.0  # seconds for an answer
LIMIT: Final = 1 << 20  # bytes of a line


class DriverError(Exception):
    """The client answered with an error."""


class Driver:
    """Sends requests, and gives each its answer."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._calls: dict[int, Loader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, words: Sequence[str], url: str) -> "Driver":
        process = await asyncio.create_subprocess_exec(
            *words, url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LIMIT
        )
        driver = cls(name, process)
        await driver.ask("hello")
        return driver

    async def ask(self, what: str, loader: Loader | None = None, **fields: Any) -> Any:
        """Return the answer; `loader` gives what the client's loader or transaction returns."""
        self._number += 1
        number = self._number
        if loader:
            self._calls[number] = loader
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._write({"id": number, "do": what, **fields})
        async with asyncio.timeout(WITHIN):
            answer = await self._answers[number]
        self._calls.pop(number, None)
        if "error" in answer:
            raise DriverError(f"{self.name}: {answer['error']}")
        return answer.get("done")

    async def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        async with asyncio.timeout(WITHIN):
            await self._process.wait()
        await self._reading

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if message.get("call"):
                task = asyncio.create_task(self._call(message["id"]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._answers.pop(message["id"]).set_result(message)
        for waiting in self._answers.values():
            waiting.set_result({"error": "the process has ended"})

    async def _call(self, number: int) -> None:
        self._write({"id": number, "give": await self._calls[number]()})
