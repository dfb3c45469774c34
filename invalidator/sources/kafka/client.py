"""aiokafka's consumer, and what it does not do by itself.

Whatever has to know the inside of the library stands here, and nowhere else.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    IllegalGenerationError,
    LeaderNotAvailableError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from msgspec import Struct

from invalidator.errors import InvalidatorError
from invalidator.sources.describe import describe
from invalidator.sources.kafka.brokers import CLIENT, Brokers
from invalidator.sources.kafka.fetch import Polled, take

log = structlog.get_logger("invalidator")

START_WITHIN = 30.0  # seconds
STOP_WITHIN = 3.0
ABANDON_WITHIN = 1.0
JOIN_MARGIN = 15.0  # seconds that the answer to a join may take beyond the rebalance
# Bytes of one fetch. A broker's answer lies in memory up to three times while it is taken apart.
MOST_PER_FETCH = 4 * 1024 * 1024
MOST_PER_PARTITION = 4 * 1024 * 1024
LEAST_PER_PARTITION = 128 * 1024
AHEAD = 8 * 1024 * 1024  # bytes that are fetched before they are asked for, over all partitions
SLACK = 1.0  # seconds that a poll may take longer than it was told to


class Refused(InvalidatorError):  # noqa: N818 - not an error, but an answer
    """The group has rebalanced without us: its new members commit from now on."""

    def __str__(self) -> str:
        return "the group has rebalanced without us"


class Timing(Struct, frozen=True):
    """Seconds that a member of a group allows itself and others."""

    # these three grow in this order: a long session makes the others longer
    session: float = 30.0  # without a heartbeat, until the group gives a member up
    rebalance: float = 45.0  # that the group waits for all members to join again
    request: float = 60.0  # that a request may take; joining is one
    drain: float = 20.0  # that a rebalance waits for batches in work; below `rebalance`
    max_poll_interval: float = 300.0  # without a poll, until a member leaves by itself
    metadata_max_age: float = 20.0  # until new partitions are noticed; with a rebalance below 30
    ask_every: float = 5.0  # without a record, between two questions whether the brokers are there
    answer: float = 3.0  # that the brokers have for an answer
    look_every: float = 15.0  # between two looks for topics that came or went
    stalled_after: float = 60.0  # without progress though there is more, until a new client


def build(brokers: Brokers, group: str, timing: Timing, instance_id: str = "") -> AIOKafkaConsumer:
    """A consumer that commits nothing, and goes nowhere, by itself. Raises OSError."""
    rebalance = max(timing.rebalance, timing.session)
    return AIOKafkaConsumer(
        bootstrap_servers=brokers.address,
        group_id=group,
        group_instance_id=instance_id or None,
        client_id=CLIENT,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        session_timeout_ms=_ms(timing.session),
        heartbeat_interval_ms=_ms(timing.session / 10),
        rebalance_timeout_ms=_ms(rebalance),
        request_timeout_ms=_ms(max(timing.request, rebalance + JOIN_MARGIN)),
        max_poll_interval_ms=_ms(timing.max_poll_interval),
        metadata_max_age_ms=_ms(timing.metadata_max_age),
        fetch_max_bytes=MOST_PER_FETCH,
        max_partition_fetch_bytes=MOST_PER_PARTITION,
        **brokers.options(),
    )


def alone(brokers: Brokers) -> AIOKafkaConsumer:
    """A consumer that is in no group, and moves no group's positions. Raises OSError."""
    return AIOKafkaConsumer(
        bootstrap_servers=brokers.address,
        client_id=CLIENT,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=MOST_PER_PARTITION,
        **brokers.options(),
    )


async def partition_counts(consumer: AIOKafkaConsumer) -> dict[str, int]:
    """How many partitions each topic has. Raises KafkaError or OSError."""
    cluster = await consumer._client.fetch_all_metadata()
    return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}


async def start(consumer: AIOKafkaConsumer) -> None:
    """Connect. It may raise anything: a login that the library cannot read, say."""
    async with asyncio.timeout(START_WITHIN):
        await consumer.start()


async def poll(
    consumer: AIOKafkaConsumer, limit: int, seconds: float, only: Sequence[TopicPartition] = ()
) -> Polled:
    """As the library's getmany, which forgets its timeout while the group rebalances."""
    consumer._coordinator.check_errors()
    try:
        async with asyncio.timeout(seconds + SLACK):
            with consumer._subscription.fetch_context():
                return await take(consumer._fetcher, limit, seconds, only)
    except TimeoutError:
        show_life(consumer)
        return {}
    except BaseException:
        show_life(consumer)
        raise


def share_out(consumer: AIOKafkaConsumer, partitions: int) -> None:
    """One bound for all that is fetched ahead: the library's own holds for each partition."""
    share = max(LEAST_PER_PARTITION, AHEAD // max(1, partitions))
    consumer._fetcher._max_partition_fetch_bytes = min(share, MOST_PER_PARTITION)


def show_life(consumer: AIOKafkaConsumer) -> None:
    """As a poll does. Without it a member leaves its group, and does not try to come back.

    A poll that raised, in turn, counts as under way for ever, and its member as alive.
    """
    state = consumer._subscription
    state._fetch_count = 0
    state._last_fetch_ended = time.monotonic()


def trouble(consumer: AIOKafkaConsumer) -> str:
    """Why it will never give a record again; empty while it may.

    When one of its tasks has died, it goes on to answer polls, with nothing.
    """
    tasks = (
        consumer._coordinator._coordination_task,
        consumer._fetcher._fetch_task,
        consumer._client._sync_task,
    )
    for task in tasks:
        if task.done():
            reason = None if task.cancelled() else task.exception()
            return f"the client's {task.get_coro().__name__} ended: {reason}"
    try:
        consumer._coordinator.check_errors()
    except Exception as error:  # noqa: BLE001 - what a task of the library ended with
        return describe(error)
    return ""


def generation(consumer: AIOKafkaConsumer) -> int:
    """Which assignment of the group we are in; -1 once the group has given us up."""
    number: int = consumer._coordinator.generation
    return number


def member_id(consumer: AIOKafkaConsumer) -> str:
    """What the group calls us."""
    name: str = consumer._coordinator.member_id
    return name


async def commit(
    consumer: AIOKafkaConsumer, as_of: int, offsets: Mapping[TopicPartition, OffsetAndMetadata]
) -> None:
    """Commit once, if the group still counts us in its generation `as_of`.

    The library's commit would go on for ever, in a task that nobody can end, so that an older
    commit may overtake a newer one; and it goes on under -1, which an empty group accepts.
    Raises Refused, KafkaError or OSError.
    """
    coordinator = consumer._coordinator
    await coordinator.ensure_coordinator_known()
    if coordinator.generation != as_of:
        raise Refused
    try:
        await coordinator._do_commit_offsets(None, offsets)
    except (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError) as error:
        raise Refused from error


async def ask(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """A cheap question that the brokers of our partitions have to answer: where these end.

    Polls answer {} whether nothing was published or nobody is there.
    """
    partitions = consumer.assignment()
    if not partitions:
        await consumer.topics()
        return {}
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    return ends


def positions(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """How far the library has got. Unlike ours, it moves over what holds no records."""
    return {
        tp: state.position if state.has_valid_position else -1
        for tp, state in _states(consumer).items()
        if not state.paused
    }


def known_ends(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Where the logs ended when records last came from them."""
    return {tp: state.lso for tp, state in _states(consumer).items() if state.lso is not None}


def _states(consumer: AIOKafkaConsumer) -> dict[TopicPartition, Any]:
    """What the library knows of each partition that is ours."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription else None
    return {tp: assignment.state_value(tp) for tp in assignment.tps} if assignment else {}


async def fetch_raw(consumer: AIOKafkaConsumer, tp: TopicPartition, at: int) -> tuple[bytes, int]:
    """The bytes that the brokers have from there on, and where their log ends.

    Raises KafkaError or OSError.
    """
    client = consumer._client
    leader = client.cluster.leader_for_partition(tp)
    if leader is None or leader < 0:
        raise LeaderNotAvailableError(tp)
    size = MOST_PER_PARTITION
    request = FetchRequest(0, 1, size, READ_COMMITTED, [(tp.topic, [(tp.partition, at, size)])])
    answer = await client.send(leader, request)
    ((_, ((_, error_code, end, *_, data),)),) = answer.topics
    if error_code:
        raise for_code(error_code)()
    return bytes(data), end


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close.

    The library's stop can hang, and it can raise a CancelledError that nobody asked for; either
    way it leaves tasks and connections behind.
    """
    try:
        async with asyncio.timeout(STOP_WITHIN):
            await consumer.stop()
    except asyncio.CancelledError:
        await _abandon(consumer)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    except Exception as error:  # noqa: BLE001 - closing goes on, whatever it was
        log.debug("kafka-close", reason=describe(error))
        await _abandon(consumer)


async def _abandon(consumer: AIOKafkaConsumer) -> None:
    """End what stop() left."""
    coordinator, fetcher, client = consumer._coordinator, consumer._fetcher, consumer._client
    tasks = [client._sync_task]
    if isinstance(coordinator, GroupCoordinator):
        tasks += [coordinator._coordination_task, coordinator._heartbeat_task]
        tasks += [coordinator._commit_refresh_task]
    elif coordinator:
        tasks.append(coordinator._reset_committed_task)
    if fetcher:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    left = [task for task in tasks if task is not None]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=ABANDON_WITHIN)
    for task in left:
        if task.done() and not task.cancelled():
            task.exception()  # seen, so that nobody reports it
    if closing := [connection.close() for connection in client._conns.values()]:
        await asyncio.wait(closing, timeout=ABANDON_WITHIN)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
