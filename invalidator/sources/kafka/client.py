"""aiokafka's consumer: how it is built, started and stopped, and whether it still moves."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from msgspec import Struct

from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.private import abandon, describe, set_fetch_size

log = structlog.get_logger("invalidator")

START_WITHIN = 30.0  # seconds
STOP_WITHIN = 3.0
JOIN_MARGIN = 15.0  # seconds that the answer to a join may take beyond the rebalance
# Bytes of one fetch. A broker's answer is in memory up to three times while it is parsed.
MOST_PER_FETCH = 4 * 1024 * 1024
MOST_PER_PARTITION = 4 * 1024 * 1024
LEAST_PER_PARTITION = 128 * 1024
AHEAD = 8 * 1024 * 1024  # bytes that are fetched before they are asked for, over all partitions


class Timing(Struct, frozen=True):
    """Seconds that a member of a group allows itself and others."""

    # these three grow in this order: a long session makes the others longer
    session: float = 30.0  # without a heartbeat, until the group gives a member up
    rebalance: float = 45.0  # that the group waits for all members to join again
    request: float = 60.0  # that a request may take; joining is one
    drain: float = 20.0  # that a rebalance waits for batches in work; below `rebalance`
    max_poll_interval: float = 300.0  # without a poll, until a member leaves on its own
    metadata_max_age: float = 20.0  # until new partitions are noticed; with a rebalance below 30
    ask_every: float = (
        5.0  # without a record, until the brokers are asked whether they are available
    )
    answer: float = 3.0  # that the brokers have for an answer
    look_every: float = 15.0  # between two looks for topics that came or went
    stalled_after: float = 60.0  # without progress though there is more, until a new client


def build(brokers: Brokers, group: str, timing: Timing, instance_id: str = "") -> AIOKafkaConsumer:
    """Return a consumer that commits nothing, and seeks nowhere, on its own. Raises OSError."""
    rebalance = max(timing.rebalance, timing.session)
    return AIOKafkaConsumer(
        group_id=group,
        group_instance_id=instance_id or None,
        partition_assignment_strategy=(StickyPartitionAssignor,),
        session_timeout_ms=_ms(timing.session),
        heartbeat_interval_ms=_ms(timing.session / 10),
        rebalance_timeout_ms=_ms(rebalance),
        request_timeout_ms=_ms(max(timing.request, rebalance + JOIN_MARGIN)),
        max_poll_interval_ms=_ms(timing.max_poll_interval),
        metadata_max_age_ms=_ms(timing.metadata_max_age),
        fetch_max_bytes=MOST_PER_FETCH,
        **_options(brokers),
    )


def alone(brokers: Brokers) -> AIOKafkaConsumer:
    """Return a consumer that is in no group, and moves no group's positions. Raises OSError."""
    return AIOKafkaConsumer(**_options(brokers))


def _options(brokers: Brokers) -> dict[str, Any]:
    return {
        "bootstrap_servers": brokers.address,
        "client_id": CLIENT,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "max_partition_fetch_bytes": MOST_PER_PARTITION,
        **brokers.options(),
    }


async def start(consumer: AIOKafkaConsumer) -> None:
    """Connect. It may raise anything: a login that the library cannot read, say."""
    async with asyncio.timeout(START_WITHIN):
        await consumer.start()


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close.

    The library's stop can hang, and it can raise a CancelledError without a reason; either
    way it leaves tasks and connections behind.
    """
    try:
        async with asyncio.timeout(STOP_WITHIN):
            await consumer.stop()
    except asyncio.CancelledError:
        await abandon(consumer)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    except Exception as error:  # noqa: BLE001 - closing continues, whatever it was
        log.debug("kafka-close", reason=describe(error))
        await abandon(consumer)


def share_out(consumer: AIOKafkaConsumer, partitions: int) -> None:
    """Set one bound for all that is fetched ahead: the library's own is for each partition."""
    share = max(LEAST_PER_PARTITION, AHEAD // max(1, partitions))
    set_fetch_size(consumer, min(share, MOST_PER_PARTITION))


async def ends_of(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Return where our partitions end: a cheap question that their brokers have to answer.

    A poll answers {} when nothing was published, and also when no broker is available.
    """
    partitions = consumer.assignment()
    if not partitions:
        await consumer.topics()
        return {}
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    return ends


class Progress:
    """Finds partitions that do not move although they have more: the client does not report it."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._seen: dict[TopicPartition, tuple[int, float]] = {}  # position, and since when

    def stalled(
        self, now: float, at: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> list[TopicPartition]:
        """Return those that have not moved for too long, though their logs are longer."""
        seen = {}
        for tp, position in at.items():
            if position < ends.get(tp, 0):
                before, since = self._seen.get(tp, (-1, now))
                seen[tp] = (position, since if before == position else now)
        self._seen = seen
        return [tp for tp, (_, since) in seen.items() if now - since >= self._patience]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
