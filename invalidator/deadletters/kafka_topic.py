"""Write dead letters to a Kafka topic: the record as received, with headers that say why.

Its origin is in the headers that Kafka Connect writes, so that tools for Connect's dead letter
queues work here too.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from invalidator.deadletters.entry import fields_of
from invalidator.deadletters.redact import NOTHING, Redactor
from invalidator.deadletters.report import Reports
from invalidator.errors import Unavailable
from invalidator.model import Fault, Record, Rejection
from invalidator.settings import Settings
from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.private import describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WITHIN: Final = 20.0  # seconds, for everything in one call
REPLY_WITHIN: Final = 6.0  # for a reply of one broker
STOP_WITHIN: Final = 3.0
LARGEST: Final = 1 << 30  # bytes of a record; the topic's own limit applies
CONNECT: Final = "__connect.errors."
OURS: Final = "invalidator."

Headers = list[tuple[str, bytes]]


class TopicLetters:
    """Writes to the topic, acknowledged by all replicas. Never creates one."""

    def __init__(
        self,
        brokers: Brokers,
        topic: str,
        *,
        redactor: Redactor = NOTHING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._brokers = brokers
        self._topic = topic
        self._redactor = redactor
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None
        self._reports = Reports()
        self._starting = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        redactor = Redactor(settings.dead_letters.redact)
        return cls(Brokers.of(settings.kafka), settings.dead_letters.topic, redactor=redactor)

    async def put(self, rejections: Sequence[Rejection], rules_hash: str) -> None:
        """Store all of them, or raise Unavailable; the caller may then put them again."""
        now = int(self._clock() * 1000)
        async with self._connected() as producer:
            written = [await self._send(producer, each, rules_hash, now) for each in rejections]
            places: list[Any] = await asyncio.gather(*written)
        where = [f"{place.topic}-{place.partition}@{place.offset}" for place in places]
        self._reports.stored(zip(rejections, where, strict=True))

    async def probe(self) -> None:
        """Raise Unavailable unless the brokers answer and have the topic."""
        async with self._connected() as producer:
            if not await producer.client.force_metadata_update():
                raise KafkaError("no broker answers")
            self._check(producer)

    ping = probe  # nothing is written

    async def aclose(self) -> None:
        if self._producer:
            producer, self._producer = self._producer, None
            await _stop(producer)

    async def _send(
        self, producer: AIOKafkaProducer, rejection: Rejection, rules_hash: str, now: int
    ) -> "asyncio.Future[object]":
        masked, paths = self._redactor.masked(rejection)
        record = masked.record
        return await producer.send(  # type: ignore[no-any-return]  # it ships no types
            self._topic,
            record.raw or b"",  # never a tombstone, which would delete in a compacted topic
            key=record.key,
            headers=[*record.headers, *headers_of(masked, rules_hash, now, paths)],
        )

    @asynccontextmanager
    async def _connected(self) -> "AsyncIterator[AIOKafkaProducer]":
        """Yield the producer; after any failure the next call makes a new one."""
        try:
            async with asyncio.timeout(WITHIN):
                yield await self._started()
        except (KafkaError, OSError) as error:  # TimeoutError is one
            await self.aclose()
            reason = await self._brokers.why() or _advised(error)
            where = f"{self._brokers.address}, topic {self._topic}"
            raise Unavailable("kafka", f"{where}: {reason}") from error
        except BaseException:
            await self.aclose()
            raise

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = self._built()
                try:
                    await producer.start()
                    await producer.client.add_topic(self._topic)
                    self._check(producer)
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    def _built(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._brokers.address,
            client_id=CLIENT,
            acks="all",
            request_timeout_ms=int(REPLY_WITHIN * 1000),
            max_request_size=LARGEST,
            **self._brokers.options(),
        )

    def _check(self, producer: AIOKafkaProducer) -> None:
        if not producer.client.cluster.partitions_for_topic(self._topic):
            raise Unavailable(
                "kafka",
                f"{self._brokers.address}: there is no topic {self._topic} that we may write to; "
                "create it, the daemon does not (INVALIDATOR_DEAD_LETTERS__TOPIC)",
            )


def headers_of(
    rejection: Rejection, rules_hash: str, now_ms: int, masked: Sequence[str] = ()
) -> Headers:
    """Return the headers of Kafka Connect, and the entry's fields that the record lacks."""
    ours = dict(fields_of(rejection, rules_hash, now_ms))
    for name in ("raw", "raw_zlib", "raw_start", "raw_size", "raw_sha256", "key", "headers"):
        ours.pop(name, None)
    if masked:
        ours["redacted"] = ",".join(masked)
    texts: list[tuple[str, str | bytes]] = [*_as_connect(rejection.record, rejection.faults)]
    texts += [(OURS + name, value) for name, value in ours.items()]
    return [(name, text if isinstance(text, bytes) else text.encode()) for name, text in texts]


def _as_connect(record: Record, faults: Sequence[Fault]) -> Iterator[tuple[str, str]]:
    first = faults[0]
    partition, at, offset = record.position.partition("@")
    yield CONNECT + "topic", record.origin
    if at:  # "3@1042", and "3@1042-1060" for a batch that cannot be read
        yield CONNECT + "partition", partition
        yield CONNECT + "offset", offset.partition("-")[0]
    yield CONNECT + "connector.name", CLIENT
    yield CONNECT + "task.id", "0"
    yield CONNECT + "stage", "TRANSFORMATION" if first.rule else "VALUE_CONVERTER"
    yield (
        CONNECT + "class.name",
        "invalidator.rules" if first.rule else "invalidator.rules.envelope",
    )
    yield CONNECT + "exception.class.name", "invalidator.errors.Rejected"
    yield CONNECT + "exception.message", first.message
    yield CONNECT + "exception.stacktrace", "\n".join(map(_line, faults))


def _line(fault: Fault) -> str:
    what = f" {fault.what}:" if fault.what else ""
    return f"{fault.rule or 'the event itself'}: {fault.error}:{what} {fault.message}"


def _advised(error: BaseException) -> str:
    reason = describe(error)
    if "MessageSizeTooLarge" in type(error).__name__:
        return f"{reason}. Raise the topic's max.message.bytes: events are never cut"
    return reason


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop the producer, which can hang and raise."""
    try:
        async with asyncio.timeout(STOP_WITHIN):
            await producer.stop()
    except (KafkaError, OSError):
        pass
