"""Avro becomes JSON before anything else sees it, by the schemas of a registry.

Records that are not framed as a registry's clients frame them pass unchanged, so a topic may hold
both. A record whose schema is unknown, or does not fit, is refused: it becomes a dead letter with
its bytes, and the other records of its batch go on.
"""

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal
from io import BytesIO
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

import orjson
from fastavro import schemaless_reader
from msgspec.structs import replace

from invalidator.errors import Rejected, Unavailable
from invalidator.model import Batch, Fault, Record, Slice
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.runtime.retry import rest
from invalidator.sources.kafka.registry import AVRO, JSON, Registry

MAGIC: Final = b"\0"
GLOBAL_ID: Final = "apicurio.value.globalId"  # in a header, as eight bytes
RECORD: Final = "avro-record"  # the header that we add: the full name of the record
AT_ONCE: Final = 1000  # records that are decoded before other tasks have their turn

Headers = Sequence[tuple[str, bytes]]


class Alive(Protocol):
    """A source that has to be kept alive while something else is waited for."""

    async def keep_alive(self) -> None: ...


class Framed(NamedTuple):
    number: int  # of the schema
    payload: bytes


class Decoded(NamedTuple):
    value: bytes | None
    headers: Headers = ()
    fault: Fault | None = None


class AvroDecoder:
    """Decodes the batches of a source, and waits for the registry where it has to."""

    def __init__(self, registry: Registry, part: Part, *, apicurio: bool, limit: int) -> None:
        """Larger values than `limit` stay as they are: rules reject them for their size."""
        self._registry = registry
        self._part = part
        self._limit = limit
        self._end = 9 if apicurio else 5  # of the frame
        self._stopping = asyncio.Event()
        part.ready()

    def start(self) -> None:
        self._stopping.clear()

    def stop(self) -> None:
        """Stop waiting for the registry."""
        self._stopping.set()

    async def decode(self, batch: Batch, source: Alive) -> Batch | None:
        """Return the batch with JSON in place of Avro; None if a stop ended the wait for it."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                await self._look_up(batch)
            except Unavailable as error:
                attempt += 1
                metrics.RETRIES.labels(self._part.name, error.code or "unavailable").inc()
                self._part.not_ready(str(error))
                await source.keep_alive()
                await rest(attempt, self._stopping)
            else:
                self._part.ready()
                return batch.portion(await self._decoded(batch.slices), batch.own)
        return None

    async def _look_up(self, batch: Batch) -> None:
        """Have the registry's answer for each schema that a value or key names."""
        wanted: set[int] = set()
        for part in batch.slices:
            frames = [self._framed(value, part, at) for at, value in enumerate(part.values)]
            if self._frame(part.record(0).key):
                frames += [self._frame(part.record(at).key) for at in range(len(part.values))]
            wanted |= {framed.number for framed in frames if framed}
        for number in wanted:
            await self._registry.look_up(number)

    async def _decoded(self, parts: Sequence[Slice]) -> list[Slice]:
        found: list[Slice] = []
        for part in parts:
            if part.refused is not None:
                found.append(part)
                continue
            for first in range(0, len(part.values), AT_ONCE):
                found += self._runs(part.between(first, min(first + AT_ONCE, len(part.values))))
                await asyncio.sleep(0)
        return found

    def _runs(self, part: Slice) -> Iterator[Slice]:
        """Yield the records in order: those that can be read, and those refused for one reason."""
        decoded = [self._decode(value, part, at) for at, value in enumerate(part.values)]
        first = 0
        for fault, group in groupby(decoded, key=lambda each: each.fault):
            run = list(group)
            some = part.between(first, first + len(run))
            first += len(run)
            yield replace(some, refused=fault) if fault else self._readable(some, run)

    def _readable(self, part: Slice, run: list[Decoded]) -> Slice:
        def record(at: int) -> Record:
            whole, (value, headers, _) = part.record(at), run[at]
            return replace(whole, raw=value, key=self._key(whole), headers=tuple(headers))

        values, headers = [each.value for each in run], [each.headers for each in run]
        return Slice(part.origin, values, record, headers if any(headers) else (), keys=part.keys)

    def _decode(self, value: bytes | None, part: Slice, at: int) -> Decoded:
        headers = part.headers[at] if part.headers else ()
        if not (framed := self._framed(value, part, at)):
            return Decoded(value, headers)
        schema = self._registry.schemas[framed.number]
        if isinstance(schema, Rejected):
            return Decoded(value, headers, Fault(schema.error, str(schema)))
        if schema.kind == JSON:
            return Decoded(framed.payload, headers)
        if schema.kind != AVRO:
            said = (
                f"the schema {framed.number} is of {schema.kind}, and only Avro and JSON are read"
            )
            return Decoded(value, headers, Fault(schema.kind.lower(), said))
        try:
            event = _read(framed, schema.parsed)
        except Rejected as error:
            return Decoded(value, headers, Fault(error.error, str(error)))
        return Decoded(event, [*headers, (RECORD, schema.name.encode())])

    def _key(self, record: Record) -> bytes | None:
        """Return the key, as JSON if it is in Avro that can be read."""
        framed = self._frame(record.key)
        schema = self._registry.schemas.get(framed.number) if framed else None
        if not framed or not schema or isinstance(schema, Rejected) or schema.kind != AVRO:
            return record.key
        try:
            return _read(framed, schema.parsed)
        except Rejected:
            return record.key

    def _framed(self, value: bytes | None, part: Slice, at: int) -> Framed | None:
        """Return the frame of a value; of Apicurio, it may be in a header."""
        if part.headers and value is not None:
            for name, number in part.headers[at]:
                if name == GLOBAL_ID and len(number) == 8:
                    return Framed(int.from_bytes(number), value)
        return self._frame(value)

    def _frame(self, value: bytes | None) -> Framed | None:
        if not value or value[:1] != MAGIC or not self._end <= len(value) <= self._limit:
            return None
        return Framed(int.from_bytes(value[1 : self._end]), value[self._end :])


def _read(framed: Framed, schema: Any) -> bytes:
    """Return a payload as JSON, or raise Rejected."""
    payload = BytesIO(framed.payload)
    try:
        event = schemaless_reader(payload, schema, None)
        rest = len(framed.payload) - payload.tell()
        if rest:
            raise ValueError(f"{rest} bytes are left over")
        return orjson.dumps(event, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except Exception as error:  # the decoder raises whatever happens to it
        said = (
            f"its bytes do not fit the schema {framed.number}: {str(error) or type(error).__name__}"
        )
        raise Rejected(said, error="bad-avro") from error


def _plain(value: object) -> str:
    """Return what JSON has no word for: decimals as digits, bytes as Avro's own JSON has them."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.decode("latin-1")
    raise TypeError(type(value).__name__)
