"""The dead letters: a stream that says which events could not be applied, and why."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import orjson
from redis.exceptions import RedisError

from invalidator import __version__, layout, metrics
from invalidator.connect import Client, Command, client, converse, ping
from invalidator.faults import diagnose
from invalidator.model import Fault, Rejection
from invalidator.settings import Settings
from invalidator.urls import redact


class DeadLetters:
    """Writes to the stream, durably as far as its Redis is."""

    def __init__(
        self,
        client: Client,
        server: str,
        *,
        stream: str = layout.DEAD_LETTERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._server = server
        self._stream = stream
        self._clock = clock

    @classmethod
    def of(cls, settings: Settings) -> Self:
        url = settings.state_url.get_secret_value()
        tls = settings.redis_tls.options()
        return cls(client(url, settings.redis_timeout, tls), redact(url))

    async def close(self) -> None:
        await self._client.aclose()

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Store them all, or raise Unavailable; then they may be put again."""
        now = int(self._clock() * 1000)
        await self._write([self._entry(rejection, rules_hash, now) for rejection in rejections])
        for rejection in rejections:
            metrics.DEAD.labels(rejection.faults[0].error).inc()

    async def probe(self) -> None:
        """Raise Unavailable unless their Redis answers; count them."""
        await ping(self._client, self._server)
        (length,) = await self._write([("XLEN", self._stream)])
        metrics.DEAD_LENGTH.set(length)

    def _entry(self, rejection: Rejection, rules_hash: str, now: int) -> Command:
        fields = fields_of(rejection, rules_hash, now)
        return ("XADD", self._stream, "*", *(part for pair in fields for part in pair))

    async def _write(self, commands: Sequence[Command]) -> Sequence[Any]:
        try:
            replies = await converse(self._client, commands)
        except (RedisError, OSError, TimeoutError) as error:
            raise diagnose(error).unavailable(self._server) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise diagnose(reply).unavailable(f"{self._server}, stream {self._stream}")
        return replies


def fields_of(
    rejection: Rejection, rules_hash: str, now_ms: int
) -> Iterator[tuple[str, str | bytes]]:
    """One entry, field by field; docs/redis-contract.md explains them."""
    record, first = rejection.record, rejection.faults[0]
    yield "source", record.source
    yield "origin", record.origin
    yield "position", record.position
    yield "type", rejection.type or ""
    yield "error", first.error
    yield "message", first.message
    yield "faults", orjson.dumps([_fault(fault) for fault in rejection.faults])
    yield "raw", record.raw or b""
    yield "key", record.key or b""
    yield "headers", orjson.dumps([[name, _text(value)] for name, value in record.headers])
    yield "published_at", str(record.time_ms or "")
    yield "failed_at", str(now_ms)
    yield "rules", rules_hash
    yield "version", __version__


def _fault(fault: Fault) -> dict[str, str | None]:
    return {
        "rule": fault.rule,
        "what": fault.what,
        "error": fault.error,
        "message": fault.message,
    }


def _text(value: bytes | None) -> str:
    """Headers may hold any bytes; what is not UTF-8 stays readable."""
    return (value or b"").decode(errors="backslashreplace")
