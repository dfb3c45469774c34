"""Reads Kafka records again whose effect on a cache may be lost."""

import asyncio

import structlog

from invalidator.sources.gap import WENT_BACK, Gaps
from invalidator.sources.kafka.batches import NAME, name_of
from invalidator.sources.kafka.membership import Membership
from invalidator.sources.kafka.offsets import first_since
from invalidator.sources.kafka.private import describe
from invalidator.sources.reread import Servers, report_reread

log = structlog.get_logger("invalidator")

LOOK_UP_WITHIN = 10.0  # seconds


async def read_again(member: Membership, servers: Servers, gaps: Gaps, now: float) -> None:
    """Go back in time if the cache servers are not those that applied what is settled."""
    assignment, identity = member.assignment, servers.identity
    if not identity or assignment.identity == identity:
        return
    if not (since := assignment.compare(identity, now)):
        return
    try:
        async with asyncio.timeout(LOOK_UP_WITHIN):
            begins = await member.consumer.beginning_offsets(list(since))
            times = {tp: int(at * 1000) for tp, at in since.items()}
            ends = {tp: assignment.partitions[tp].next for tp in since}
            starts = await first_since(member.consumer, times, ends)
    except Exception as error:  # noqa: BLE001 - the next read tries again
        log.debug("kafka-reread", reason=describe(error))
        return
    if assignment is not member.assignment or not member.assigned.is_set():
        return
    if not (again := assignment.read_again(identity, since, starts)):
        return
    ranges = {name_of(tp): f"{first} to {goal}" for tp, (first, goal) in again.items()}
    report_reread(NAME, min(since.values()), servers, ranges)
    floors = {tp: assignment.partitions[tp].floor for tp in again}
    # Where all that is left is read again, what was deleted before it may be missing.
    short = {tp.topic for tp, (first, _) in again.items() if floors[tp] < begins[tp] >= first}
    if short:
        gaps.report(WENT_BACK, sorted(short))
