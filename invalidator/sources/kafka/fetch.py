"""What a consumer has fetched, taken out a batch of the log at a time.

The library's own way makes an object of eleven fields for each record, one by one, which costs more
than all else that happens to an event. Here its C code fills lists, and nothing is made anew. It is
also kinder to what can be read: an error is kept back until all that lies before it was given.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchError, PartitionRecords
from aiokafka.errors import CorruptRecordException


class Fetched(Protocol):
    """One record, as the library's C code made it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int | None  # milliseconds; None or below 0: the producer gave none


Polled = dict[TopicPartition, list[Fetched]]


async def take(
    fetcher: Fetcher, limit: int, seconds: float, only: Sequence[TopicPartition] = ()
) -> Polled:
    """What is there, `limit` records at most; waits for the first. Raises what the library does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not fetcher._closed:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        polled = _drain(fetcher, limit, only)
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


def _drain(fetcher: Fetcher, limit: int, only: Sequence[TopicPartition]) -> Polled:
    polled: Polled = {}
    for tp in list(fetcher._records):
        if only and tp not in only:
            if not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
            continue
        if records := _take_of(fetcher, tp, limit):
            polled[tp] = records
            limit -= len(records)
        if not polled and isinstance(error := fetcher._records.get(tp), FetchError):
            _forget(fetcher, tp)
            error.check_raise()
        if not limit:
            break
    return polled


def _take_of(fetcher: Fetcher, tp: TopicPartition, limit: int) -> list[Fetched]:
    """What there is of one partition; an error behind it takes its place."""
    result = fetcher._records[tp]
    if isinstance(result, FetchError):
        return []
    if not result.check_assignment(tp):
        _forget(fetcher, tp)
        return []
    part = result._partition_records
    if not isinstance(part._records_iterator, _Runs):
        part._records_iterator = _Runs(part.next_fetch_offset)
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
    """The next fetch may ask for this partition again."""
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


class _Runs:
    """The records of one fetch of one partition.

    What was fetched is an argument: a cycle with it would keep megabytes alive for a while.
    """

    def __init__(self, end: int) -> None:
        self._left: list[Fetched] = []  # decoded, and not given yet
        self._end = end  # where to go on behind them
        self.error: Exception | None = None  # what lies behind those that were given

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
        """The rules of what is skipped are the library's."""
        if not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {part._tp}")
        if not _is_aborted(part, batch) and not batch.is_control_batch:
            before = len(self._left)
            try:
                self._left.extend(batch)
            finally:  # a record that cannot be read does not hide those before it
                self._drop_known(before)
        self._end = batch.next_offset

    def _drop_known(self, before: int) -> None:
        """A batch is fetched whole, even where we have read half of it."""
        if len(self._left) > before and self._left[before].offset < self._end:
            new = [record for record in self._left[before:] if record.offset >= self._end]
            self._left[before:] = new
        if len(self._left) > before:
            self._end = self._left[-1].offset + 1


def _is_aborted(part: PartitionRecords, batch: Any) -> bool:
    """Whether it belongs to a transaction that was given up."""
    producer = batch.producer_id
    if producer is None:
        return False
    part._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch and part._contains_abort_marker(batch):
        part._aborted_producers.discard(producer)
    return bool(batch.is_transactional and producer in part._aborted_producers)
