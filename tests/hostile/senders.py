"""A daemon on servers of its own, and the ways to send it bytes."""

import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from invalidator.deadletters.entry import letter_of
from invalidator.rules.envelope import Envelope, elements_of
from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_server import RedisServer
from tests.e2e.process import DaemonProcess

RULES = """\
version: 1
rules:
  - name: order
    on: order.updated
    invalidate: {keys: ["order:{id}"]}
  - name: list
    on: list.changed
    invalidate: {patterns: ["list:{id}:*"]}
  - name: group
    on: group.changed
    invalidate: {tags: ["group:{id}"]}
  - name: version
    on: version.raised
    invalidate: {versions: ["of:{id}"]}
  - name: header
    on: header.told
    invalidate: {keys: ["order:{headers.tenant}:{event.key}"]}
"""
MOST = 1 << 20  # bytes of an event; the default of INVALIDATOR_BATCH__MAX_EVENT_BYTES
# What no event below ever names: its keys differ in a letter, a case, a place of the wildcard.
CANARIES = {
    **{f"order:canary:{n}": b"here" for n in range(3)},
    **{f"list:canary:{n}": b"here" for n in range(3)},
    "list:canary": b"here",
    "order:": b"here",
    "list::": b"here",
    "session:canary": b"here",
    "canary": b"here",
    "cache:version:of:canary": b"7",
    "lock\r\nDEL canary": b"here",
}
MEMBERS = {b"order:canary:0", b"session:canary"}
Sent = Sequence[bytes]
TOKEN = "a-token-of-the-tests"


@dataclass
class Target:
    """The daemon, and what is around it."""

    server: RedisServer
    now: "redis.Redis"
    kafka: Kafka
    topic: str
    group: str
    daemon: DaemonProcess
    sent: int = 0

    def prime(self) -> None:
        self.now.mset(CANARIES)
        self.now.sadd("tag:group:canary", *MEMBERS)

    def survivors(self) -> dict[str, bytes | None]:
        found: Any = self.now.mget([*CANARIES])
        return dict(zip(CANARIES, found, strict=True))

    # --- sending --------------------------------------------------------------------------

    def by_stream(self, events: Sent) -> None:
        with self.now.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.xadd("events", {"event": event})
            pipe.execute()
        self.sent += _count(events)

    def by_fields(self, entries: Sequence[dict[bytes, bytes]]) -> None:
        with self.now.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xadd("events", entry)  # type: ignore[arg-type]  # it is invariant
            pipe.execute()
        self.sent += len(entries)

    def by_channel(self, events: Sent) -> None:
        with self.now.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.publish("channel", event)
            pipe.execute()
        self.sent += _count(events)

    def by_kafka(
        self,
        events: Sequence[bytes | None],
        key: bytes | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        self.kafka.produce(self.topic, events, key=key, headers=headers)
        self.sent += _count(events)

    def await_settled(self) -> None:
        """Wait until every event is counted as applied, unmatched or rejected."""

        def all_counted() -> bool:
            assert self.daemon.process.poll() is None, self.daemon.log()[-2000:]
            if self.daemon.metric("invalidator_braked_origins"):
                self.resume()
            return self.settled() >= self.sent

        until_sync(all_counted, what="all events are settled")
        assert self.settled() == self.sent

    def resume(self) -> None:
        """Release what is paused: the rules reject more than half of the events, rightly."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = self.daemon.admin_url() + "/resume"
        urllib.request.urlopen(urllib.request.Request(url, method="POST", headers=headers)).close()

    # --- looking ----------------------------------------------------------------------------

    def settled(self) -> int:
        return round(self.daemon.metric("invalidator_events_total"))

    def dead(self) -> set[bytes]:
        entries: Any = self.now.xrange("invalidator:dead")
        found = (letter_of(entry, fields).record.raw for entry, fields in entries)
        return {raw for raw in found if raw is not None}

    def memory(self) -> int:
        statm = Path(f"/proc/{self.daemon.process.pid}/statm").read_text()
        return int(statm.split()[1]) * 4096


def _count(events: Sequence[bytes | None]) -> int:
    """Return how many events records hold: one that is a list of objects is as many."""
    lists = (elements_of(raw, Envelope(), MOST) for raw in events)
    return sum(1 if each is None else len(each) for each in lists)


Way = Callable[[Target, Sent], None]
WAYS: dict[str, Way] = {
    "stream": Target.by_stream,
    "channel": Target.by_channel,
    "kafka": Target.by_kafka,
}


def attacked(stack: ExitStack, folder: Path, kafka: Kafka) -> Target:
    """Start a daemon that reads from everywhere."""
    server = stack.enter_context(RedisServer())
    now = stack.enter_context(redis.Redis(port=server.port, protocol=2))
    (folder / "rules.yaml").write_text(RULES)
    topic, group = kafka.topic("hostile"), unique("group")
    daemon = DaemonProcess(
        {
            "RULES": str(folder / "rules.yaml"),
            "REDIS_URL": server.url,
            "STREAMS__KEYS": "events",
            "STREAMS__START": "earliest",
            "PUBSUB__CHANNELS": "channel",
            "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "KAFKA__TOPICS": topic,
            "KAFKA__GROUP_ID": group,
            "KAFKA__START": "earliest",
            "ADMIN__TOKEN": TOKEN,
        }
    )
    stack.callback(daemon.close)
    daemon.await_ready(60)
    return Target(server, now, kafka, topic, group, daemon)
