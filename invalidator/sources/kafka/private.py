"""All access to the private parts of aiokafka, and what is fixed in it.

Records are taken out a batch of the log at a time. The library's own way makes an object of eleven
fields for each record, which costs more than all else that happens to an event. Here its C code
fills lists, and nothing is copied. An error is raised after all records before it were returned.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import aiokafka.client
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchError, PartitionRecords
from aiokafka.errors import (
    CorruptRecordException,
    IllegalGenerationError,
    KafkaError,
    LeaderNotAvailableError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from invalidator.errors import InvalidatorError

CLOSE_WITHIN = 1.0  # seconds
ASK_AGAIN = 0.2  # seconds, while a coordinator is being found or loads its groups
SLACK = 1.0  # seconds that a poll may take longer than it was asked to


T = TypeVar("T")


class Fetched(Protocol):
    """One record, as the library's C code made it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int | None  # milliseconds; None or below 0: the producer gave none


Polled = dict[TopicPartition, list[Fetched]]


def describe(error: BaseException) -> str:
    """Return an error in one line; the library's often have no text but their name, even twice."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return said or "no answer in time"
    return said if said.startswith(name) else f"{name}: {said}".removesuffix(": ")


class Refused(InvalidatorError):  # noqa: N818 - not an error, but an answer
    """The group has rebalanced without us: its new members commit from now on."""


class Unreadable(InvalidatorError):  # noqa: N818 - a state of the partition
    """The next records of one partition cannot be read."""

    def __init__(self, tp: TopicPartition, error: Exception) -> None:
        super().__init__(f"{tp.topic}-{tp.partition}: {describe(error)}")
        self.tp = tp
        self.error = error


# --- a group's member -----------------------------------------------------------------------


def trouble(consumer: AIOKafkaConsumer) -> str:
    """Return why it will never return a record again; empty while it may.

    When one of its tasks has died, it continues to answer polls, with nothing.
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


def show_life(consumer: AIOKafkaConsumer) -> None:
    """Count as polling. Without it a member leaves its group, and does not try to come back."""
    consumer._subscription._last_fetch_ended = time.monotonic()


def generation(consumer: AIOKafkaConsumer) -> int:
    """Return the number of the group's assignment; -1 once the group has given us up."""
    return int(consumer._coordinator.generation)


async def commit(
    consumer: AIOKafkaConsumer, as_of: int, offsets: Mapping[TopicPartition, OffsetAndMetadata]
) -> None:
    """Commit once, if the group still counts us in its generation `as_of`.

    The library's commit would retry for ever, in a task that cannot be ended, so that an older
    commit may overtake a newer one; and it continues under -1, which an empty group accepts.
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


def positions(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Return the library's own positions, which move over what holds no records. Ours do not."""
    found = {}
    for tp, state in _states(consumer):
        if not state.paused:
            found[tp] = state.position if state.has_valid_position else -1
    return found


def known_ends(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Return where the logs ended when records last came from them."""
    return {tp: state.lso for tp, state in _states(consumer) if state.lso is not None}


def _states(consumer: AIOKafkaConsumer) -> Iterator[tuple[TopicPartition, Any]]:
    subscription = consumer._subscription.subscription
    if subscription and (assignment := subscription.assignment):
        for tp in assignment.tps:
            yield tp, assignment.state_value(tp)


async def abandon(consumer: AIOKafkaConsumer) -> None:
    """End the tasks and connections that the library's stop() left."""
    client = consumer._client
    parts = [vars(part) for part in (client, consumer._coordinator, consumer._fetcher) if part]
    found = {value for part in parts for value in part.values() if isinstance(value, asyncio.Task)}
    left = found | set(getattr(consumer._fetcher, "_pending_tasks", ()))
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=CLOSE_WITHIN)
    for task in left:
        if task.done() and not task.cancelled():
            task.exception()  # seen, so that nobody reports it
    if closing := [connection.close() for connection in client._conns.values()]:
        await asyncio.wait(closing, timeout=CLOSE_WITHIN)


# --- questions to the brokers ---------------------------------------------------------------


async def insist(ask: Callable[[], Awaitable[T]], within: float) -> T:
    """Ask until there is an answer, or an error that does not pass on its own."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await ask()
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(ASK_AGAIN)


async def partition_counts(consumer: AIOKafkaConsumer) -> dict[str, int]:
    """Return how many partitions each topic has. Raises KafkaError or OSError."""
    cluster = await consumer._client.fetch_all_metadata()
    return {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cluster.topics()}


async def group_offsets(consumer: AIOKafkaConsumer) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return all that its group has committed. Raises KafkaError or OSError.

    The library's own question takes an error for "nothing": a group whose coordinator has just
    been restarted would look new, and begin at its start again.
    """
    coordinator = consumer._coordinator
    await coordinator.ensure_coordinator_known()
    answer = await coordinator._send_req(OffsetFetchRequest(coordinator.group_id, None))
    _raise_for(answer.error_code)
    found = {}
    for topic, partitions in answer.topics:
        for partition, offset, note, error_code in partitions:
            _raise_for(error_code)
            if offset >= 0:
                found[TopicPartition(topic, partition)] = OffsetAndMetadata(offset, note)
    return found


async def fetch_raw(
    consumer: AIOKafkaConsumer, tp: TopicPartition, at: int, size: int
) -> tuple[bytes, int]:
    """Return the bytes that the brokers have from this offset, and where their log ends.

    Raises KafkaError or OSError.
    """
    client = consumer._client
    leader = client.cluster.leader_for_partition(tp)
    if leader is None or leader < 0:
        raise LeaderNotAvailableError(tp)
    request = FetchRequest(0, 1, size, READ_COMMITTED, [(tp.topic, [(tp.partition, at, size)])])
    answer = await client.send(leader, request)
    ((_, ((_, error_code, end, *_, data),)),) = answer.topics
    _raise_for(error_code)
    return bytes(data), end


def _raise_for(error_code: int) -> None:
    if error_code:
        raise for_code(error_code)()


async def close_connection(connection: AIOKafkaConnection) -> None:
    """Close it, if it was ever open."""
    if connection._protocol:
        connection.close()
        await asyncio.wait({connection._closed_fut}, timeout=CLOSE_WITHIN)


# --- records --------------------------------------------------------------------------------


def set_fetch_size(consumer: AIOKafkaConsumer, size: int) -> None:
    """Set how many bytes a fetch may bring of each partition."""
    consumer._fetcher._max_partition_fetch_bytes = size


async def poll(consumer: AIOKafkaConsumer, limit: int, seconds: float) -> Polled:
    """Return what came, as getmany does, which forgets its timeout while the group rebalances.

    Raises Unreadable, OffsetOutOfRangeError, or what a task of the library died of.
    """
    show_life(consumer)
    consumer._coordinator.check_errors()
    try:
        async with asyncio.timeout(seconds + SLACK):
            return await _take(consumer._fetcher, limit, seconds)
    except TimeoutError:
        return {}


async def _take(fetcher: Fetcher, limit: int, seconds: float) -> Polled:
    """Wait for the first record; then return `limit` at most."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not fetcher._closed:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        polled = _drain(fetcher, limit)
        left = deadline - loop.time()
        if polled or left <= 0:
            return polled
        waiter = fetcher._create_fetch_waiter()
        done, _ = await asyncio.wait([waiter], timeout=left)
        if not done:
            waiter.cancel()
            return {}
        waiter.result()  # it may say that we are not allowed to read
    return {}


def _drain(fetcher: Fetcher, limit: int) -> Polled:
    polled: Polled = {}
    for tp in list(fetcher._records):
        if not fetcher._subscriptions.is_assigned(tp):  # left by an earlier assignment
            _forget(fetcher, tp)
            continue
        if records := _take_of(fetcher, tp, limit):
            polled[tp] = records
            limit -= len(records)
        if not polled and isinstance(error := fetcher._records.get(tp), FetchError):
            _forget(fetcher, tp)
            try:
                error.check_raise()
            except OffsetOutOfRangeError:
                raise
            except Exception as found:
                raise Unreadable(tp, found) from found
        if not limit:
            break
    return polled


def _take_of(fetcher: Fetcher, tp: TopicPartition, limit: int) -> list[Fetched]:
    """Take records of one partition; an error behind them takes their place."""
    result = fetcher._records[tp]
    if isinstance(result, FetchError):
        return []
    if not result.check_assignment(tp):
        _forget(fetcher, tp)
        return []
    part = result._partition_records
    if not isinstance(part._records_iterator, Runs):
        part._records_iterator = Runs(part.next_fetch_offset)
    runs = part._records_iterator
    records = runs.take(part, limit)
    result._update_position()
    if not runs.over(part):
        return records
    if runs.error:
        fetcher._records[tp] = FetchError(error=runs.error, backoff=fetcher._prefetch_backoff)
    else:
        _forget(fetcher, tp)
    return records


def _forget(fetcher: Fetcher, tp: TopicPartition) -> None:
    """Let the next fetch ask for this partition again."""
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


class Runs:
    """The records of one fetch of one partition.

    What was fetched is an argument: a cycle with it would keep megabytes alive for a while.
    """

    def __init__(self, end: int) -> None:
        self._left: list[Fetched] = []  # decoded, and not returned yet
        self._end = end  # the offset that follows them
        self.error: Exception | None = None  # found after those that were returned

    def over(self, part: PartitionRecords) -> bool:
        return not self._left and (self.error is not None or not part._records.has_next())

    def take(self, part: PartitionRecords, limit: int) -> list[Fetched]:
        while len(self._left) < limit and not self.error and part._records.has_next():
            try:
                self._decode(part, part._records.next_batch())
            except Exception as error:  # noqa: BLE001 - a checksum, a codec, a header: raised later
                self.error = error
        taken, self._left = self._left[:limit], self._left[limit:]
        part.next_fetch_offset = taken[-1].offset + 1 if self._left else self._end
        return taken

    def _decode(self, part: PartitionRecords, batch: Any) -> None:
        """Decode a batch, unless the library would skip it."""
        if not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {part._tp}")
        if not _is_aborted(part, batch) and not batch.is_control_batch:
            records: list[Fetched] = []
            try:
                records.extend(batch)
            finally:  # a record that cannot be read does not hide those before it
                if records and records[0].offset < self._end:  # a batch is fetched whole
                    records = [record for record in records if record.offset >= self._end]
                if records:
                    self._end = records[-1].offset + 1
                    self._left = self._left + records if self._left else records
        self._end = batch.next_offset


def _is_aborted(part: PartitionRecords, batch: Any) -> bool:
    """Return whether it belongs to a transaction that was aborted."""
    producer = batch.producer_id
    if producer is None:
        return False
    part._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and part._contains_abort_marker(batch):
        part._aborted_producers.discard(producer)
    return bool(batch.is_transactional and producer in part._aborted_producers)


# --- what is fixed in the library, for all its clients in this process -----------------------


class _AsksOnly(MetadataRequest):  # type: ignore[misc]  # it ships no types
    """A request that does not create again a topic that was deleted while we read it."""

    def __init__(self, topics: Iterable[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


_connect = aiokafka.client.create_conn


async def _closed_when_cancelled(*where: Any, **how: Any) -> AIOKafkaConnection:
    """Close a client's first connection when the task that opened it is cancelled.

    Only that task knows the connection: it would stay open.
    """
    connection = await _connect(*where, **how)

    async def send(*request: Any, **how: Any) -> Any:
        try:
            return await AIOKafkaConnection.send(connection, *request, **how)
        except asyncio.CancelledError:
            connection.close()
            raise

    if "on_close" not in how:
        connection.send = send
    return connection


aiokafka.client.MetadataRequest = _AsksOnly
aiokafka.client.create_conn = _closed_when_cancelled
