"""The bounds on work in flight."""

import asyncio

from invalidator.pipeline.inflight import InFlight


def test_room_is_what_is_left_of_the_bound() -> None:
    in_flight = InFlight(100, 1000)
    assert in_flight.room() == 100
    in_flight.add(30, 0)
    assert in_flight.room() == 70
    in_flight.add(80, 0)
    assert in_flight.room() == 0
    in_flight.remove(80, 0)
    assert in_flight.room() == 70


def test_bytes_are_a_bound_too_and_one_batch_may_pass_it() -> None:
    in_flight = InFlight(100, 1000)
    in_flight.add(1, 999)
    assert in_flight.room() == 99
    in_flight.add(1, 5000)
    assert in_flight.room() == 0
    in_flight.remove(1, 5000)
    assert in_flight.room() == 99


async def test_everybody_who_waits_hears_that_something_was_settled() -> None:
    in_flight = InFlight(1, 1000)
    in_flight.add(1, 0)
    waits = [asyncio.create_task(in_flight.wait()) for _ in range(3)]
    _, pending = await asyncio.wait(waits, timeout=0.01)
    assert len(pending) == 3
    in_flight.remove(1, 0)
    await asyncio.wait_for(asyncio.gather(*waits), 60)


async def test_what_was_freed_before_the_wait_counts() -> None:
    in_flight = InFlight(1, 1000)
    in_flight.add(1, 0)
    in_flight.remove(1, 0)
    await asyncio.wait_for(in_flight.wait(), 60)
