"""From an event's publication to its key gone, at a tenth of the full rate, beside other consumers.

python -m benchmarks.latency [--quick]

Some of the events name a key that is really there; Redis itself says when such a key goes. A bare
consumer runs beside the daemon, and one in Go where there is Go: what they take, the machine does.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import redis
from confluent_kafka import Producer

from benchmarks import workload
from benchmarks.contenders import BARE, CONTENDERS, OURS, Contender, Task
from benchmarks.options import sizes
from benchmarks.process import launched, started
from benchmarks.servers import Servers, servers
from tests.backends.kafka_client import unique

BURST = 0.005  # seconds; a producer that is called a thousand times a second sends in bursts
PROBE_EVERY = 2  # bursts
TELLS = "notify-keyspace-events"
GONE = "__keyevent@0__:del"  # also of what was unlinked
WITHIN = 10.0
CONNECTS = 100  # events before it begins
PLAIN = workload.VARIANTS["plain"]
DAEMON, GO = CONTENDERS["h"], CONTENDERS["g"]


def main(words: Sequence[str] | None = None) -> None:
    usual = {"rate": (20_000, 1_000), "seconds": (10.0, 0.5), "rounds": (3, 1)}
    asked = sizes(__doc__, words, warm_up=(2, 0), **usual)  # the broker's compiler takes so long
    contenders = [BARE, DAEMON] if GO.missing() else [BARE, DAEMON, GO]
    found: dict[str, list[list[float]]] = {}
    with TemporaryDirectory() as folder, servers() as on:
        for number in range(1 - asked.warm_up, asked.rounds + 1):
            for contender in contenders:
                times = measure(on, contender, asked.rate, asked.seconds, Path(folder))
                if number > 0:  # what came before warms the broker up
                    found.setdefault(contender.name, []).append(times)
    show(found)


def measure(
    on: Servers,
    contender: Contender,
    rate: int,
    seconds: float,
    folder: Path,
    *,
    another_at: float | None = None,
) -> list[float]:
    """Milliseconds of each probe; `another_at` so many seconds another member joins the group."""
    topic = unique("latency")
    on.kafka.create_topic(topic, workload.PARTITIONS)
    task = Task(on, topic, unique("group"), PLAIN, 0, folder)
    with ExitStack() as stack:
        watch = stack.enter_context(started(contender, task))
        probes = stack.enter_context(Probes(on, topic))
        events = workload.events(PLAIN, int(rate * seconds))
        begun = time.monotonic()
        for burst in range(int(seconds / BURST)):
            probes.publish(islice(events, int(rate * BURST)))
            if burst % PROBE_EVERY == 0:
                probes.send(f"probe_{burst}")
            if another_at is not None and burst == int(another_at / BURST):
                stack.enter_context(launched(contender, task))
            probes.hear(begun + (burst + 1) * BURST)
        watch.until(probes.all_heard)
    return probes.times


class Probes:
    """Events whose keys are there; Redis tells when they go."""

    def __init__(self, on: Servers, topic: str) -> None:
        self.times: list[float] = []
        self._topic = topic
        self._waiting: dict[str, float] = {}
        self._producer = Producer({"bootstrap.servers": on.kafka.bootstrap, "linger.ms": 0})
        self._redis = redis.Redis.from_url(on.redis_url, decode_responses=True)
        self._gone = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]

    def __enter__(self) -> "Probes":
        self._before = self._redis.config_get(TELLS)[TELLS] or ""
        self._redis.config_set(TELLS, "Eg")
        self._gone.subscribe(GONE)
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.flush(WITHIN)
        self._gone.close()
        self._redis.config_set(TELLS, self._before)
        self._redis.close()

    def _connect(self) -> None:
        """Producers do so once in their life; so do the consumer's first deletes."""
        self.publish(workload.events(PLAIN, CONNECTS))
        self._producer.flush(WITHIN)

    def publish(self, events: Iterable[bytes]) -> None:
        for event in events:
            self._producer.produce(self._topic, event)
        self._producer.poll(0)

    def send(self, order: str) -> None:
        key = f"order:single:{order}"
        self._redis.set(key, "stale")
        self._waiting[key] = time.monotonic()
        self.publish([workload.event_of(PLAIN, order)])

    def hear(self, until: float) -> None:
        """What goes until then; at least what has gone by now."""
        while message := self._gone.get_message(timeout=max(0.0, until - time.monotonic())):
            if sent := self._waiting.pop(message["data"], None):
                self.times.append((time.monotonic() - sent) * 1000)
        if (left := until - time.monotonic()) > 0:
            time.sleep(left)

    def all_heard(self) -> bool:
        self.hear(time.monotonic() + BURST)
        return not self._waiting


def show(found: Mapping[str, Sequence[Sequence[float]]]) -> None:
    print("| | probes | p50 ms | p99 ms | from, to | max ms |")
    print("|---|---|---|---|---|---|")
    for name, rounds in found.items():
        p50, p99 = ([share(times, part) for times in rounds] for part in (0.5, 0.99))
        print(
            f"| {name} | {sum(map(len, rounds))} | {median(p50):.1f} | {median(p99):.1f} "
            f"| {min(p99):.1f}, {max(p99):.1f} | {max(map(max, rounds)):.1f} |"
        )
    bare, ours = found[BARE.name], found[OURS]
    ratios = [share(b, 0.99) / share(a, 0.99) for a, b in zip(bare, ours, strict=True)]
    print(
        f"\np99, invalidator to a bare consumer: {median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), at most 1.50 wanted"
    )


def share(times: Sequence[float], part: float) -> float:
    return sorted(times)[int(len(times) * part)]


if __name__ == "__main__":
    main()
