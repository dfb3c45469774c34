"""What a replay rejects again replaces its entry, and is never lost in between."""

from collections.abc import AsyncIterator, Sequence

import pytest

from invalidator.deadletters import DeadLetters
from invalidator.deadletters.entry import Letter
from invalidator.deadletters.replay import DeadLetterSource, ReplayLetters
from invalidator.deadletters.shelf import DeadLetterStream
from invalidator.errors import Unavailable
from invalidator.model import Fault, Record, Rejection
from invalidator.redisclient import Command, Reply, client

RECORD = Record("kafka", "orders", "0@1", b"{}")
FAULTS = (Fault("no-type", "none"),)


class Stream(DeadLetterStream):
    """A stream that notes what it is asked, and may be unavailable."""

    def __init__(self) -> None:
        super().__init__(client("redis://127.0.0.1:1/0", 1.0), "here")
        self.asked: list[Command] = []
        self.available = True

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        if not self.available:
            raise Unavailable("here", "down")
        self.asked += commands
        return [1] * len(commands)


async def letters(*ids: str) -> AsyncIterator[Letter]:
    for entry in ids:
        yield Letter(entry, RECORD, "", "", FAULTS, 1, 7, 7, "", "")


async def test_an_entry_is_added_anew_before_the_old_one_goes_and_only_once() -> None:
    stream = Stream()
    source = DeadLetterSource(stream, letters("1-0", "2-0"))
    others = DeadLetters(client("redis://127.0.0.1:1/0", 1.0), "here")
    rejected = ReplayLetters(source, stream, others)
    batch = await source.read(10)
    assert batch
    stream.available = False
    with pytest.raises(Unavailable):
        await rejected.put([Rejection(RECORD, None, FAULTS)], "hash")
    stream.available = True
    for _ in range(2):  # rejected by its plan, and later by a cache
        await rejected.put([Rejection(RECORD, None, FAULTS)], "hash")
    await source.settle(batch)
    assert [command[0] for command in stream.asked] == ["XADD", "XADD", "XDEL"]
    assert stream.asked[-1][2:] == ("1-0", "2-0")
    assert source.removed == 0
