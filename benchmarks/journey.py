"""How far one record travels through the code: calls, files, and moves between rooms.

python -m benchmarks.journey [--quick] [--show 1]

A daemon in this process applies one record of Kafka at a time. The shortest trace counts, which has
nothing else in it: no probe of a server, no idle read. A call is a function or coroutine that
starts; a room is a folder or module of `invalidator/`; a move leads from the room of one call to
that of the next.
"""

import asyncio
import dis
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import NamedTuple

import structlog
from confluent_kafka import Producer

import invalidator
from benchmarks.options import sizes
from benchmarks.servers import Servers, servers
from invalidator.daemon.daemon import Daemon
from invalidator.rules.file.reload import Watcher
from invalidator.runtime import logs
from invalidator.settings import load
from tests.backends.kafka_client import unique

PACKAGE = str(Path(invalidator.__file__).parent) + "/"
RULES = "rules: [{name: r, on: order.updated, invalidate: {keys: 'order:single:{orderId}'}}]"
EVENT = b'{"type": "order.updated", "data": {"orderId": "o%d"}}'
SETTLES_WITHIN = 0.3  # seconds
_STARTS: dict[CodeType, int] = {}  # where each function starts


class Call(NamedTuple):
    file: str
    function: str

    @property
    def room(self) -> str:
        return self.file.split("/", 1)[0].removesuffix(".py")


class Trace:
    """Notes each call of ours while it is open."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __enter__(self) -> "Trace":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and not _is_resumed(frame):
            self.calls.append(Call(code.co_filename.removeprefix(PACKAGE), code.co_qualname))

    @property
    def settled(self) -> bool:
        return any(call.function == "Reporter.settled" for call in self.calls)


def _is_resumed(frame: FrameType) -> bool:
    """Return whether a coroutine continues after an await."""
    code = frame.f_code
    if code not in _STARTS:
        resumes = (each for each in dis.get_instructions(code) if each.opname == "RESUME")
        _STARTS[code] = next(resumes).offset
    return frame.f_lasti > _STARTS[code]


async def traces(on: Servers, folder: Path, records: int) -> list[Trace]:
    """Return the traces of records that come one by one."""
    (folder / "rules.yaml").write_text(RULES)
    topic = unique("journey")
    on.kafka.create_topic(topic, 1)
    settings = load(
        redis_url=on.redis_url,
        kafka__bootstrap_servers=on.kafka.bootstrap,
        kafka__topics=topic,
        kafka__start="earliest",
        admin__port="0",
        log__level="warning",
    )
    producer = Producer({"bootstrap.servers": on.kafka.bootstrap, "linger.ms": 0})
    daemon = Daemon(settings, Watcher(folder / "rules.yaml"))
    running = asyncio.create_task(daemon.run())
    found: list[Trace] = []
    number = 0
    while len(found) < records:
        number += 1
        with Trace() as trace:
            producer.produce(topic, EVENT % number)
            producer.poll(0)
            await asyncio.sleep(SETTLES_WITHIN)
        found += [trace] if trace.settled else []  # it takes a while to join the group
    running.cancel()
    await asyncio.wait({running})
    return found


def show(trace: Trace, *, every_call: bool) -> None:
    calls = trace.calls
    rooms = [call.room for call in calls]
    moves = sum(before != after for before, after in pairwise(rooms))
    if every_call:
        for call in calls:
            print(f"  {call.file}  {call.function}")
    print(
        f"{len(calls)} calls in {len({call.file for call in calls})} files; "
        f"{moves} moves between {len(set(rooms))} rooms: {', '.join(sorted(set(rooms)))}"
    )


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, records=(40, 2), show=(0, 0))
    logs.configure("console", "warning")
    try:
        with TemporaryDirectory() as folder, servers() as on:
            found = asyncio.run(traces(on, Path(folder), asked.records))
    finally:
        structlog.reset_defaults()
    show(min(found, key=lambda trace: len(trace.calls)), every_call=bool(asked.show))


if __name__ == "__main__":
    main()
