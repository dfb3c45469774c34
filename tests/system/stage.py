"""The whole system: servers, the daemon, a service, its writers, and who listens."""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import redis

from invalidator import layout
from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.backends.redis_sentinel import Watched
from tests.backends.redis_server import RedisServer
from tests.backends.server import dies_with_us
from tests.e2e.process import PROGRAM, DaemonProcess
from tests.faults.proxy import Proxy
from tests.system.board import READERS, ROWS, Board
from tests.system.events import RULES, TABLE, by_pubsub

WRITERS: Final = 2
READY: Final = 120.0  # seconds; it starts while everybody else is busy
PARTITIONS: Final = 3
# Copies in a process go within 3 seconds; one more for a listener that waits for its turn.
NEAR_LIMIT: Final = 4.0


class Listener:
    """Hears on the backplane which versions' invalidations were applied, and raises floors."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._claiming = True
        self._known = [0] * ROWS  # through all epochs
        self._ages: deque[tuple[float, int, int]] = deque()
        self._lock = threading.Lock()
        self.ends: set[str] = set()
        self.announced = 0
        self._ended = False
        self._threads: list[threading.Thread] = []
        self._port = 0
        self._begin(self._age)

    def listen_to(self, port: int) -> None:
        """Listen there from now on."""
        self._port = port
        self._begin(lambda: self._listen(port))

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()

    def claim_nothing(self) -> None:
        """Redis may forget: from now on nothing is claimed."""
        with self._lock:
            self._claiming = False
            self._board.claim_nothing()
            self._ages.clear()
            # What came by pub/sub is in the memory of a daemon that may have died meanwhile.
            self._known = [0 if by_pubsub(row) else known for row, known in enumerate(self._known)]

    def claim(self) -> None:
        """Everything was read again: all that was ever announced is claimed, and what follows."""
        with self._lock:
            self._claiming = True
            for row, version in enumerate(self._known):
                self._raise(row, version)

    def _listen(self, port: int) -> None:
        while self._listens_to(port):
            with suppress(redis.RedisError, OSError), redis.Redis(port=port, protocol=2) as client:
                listener = client.pubsub(ignore_subscribe_messages=True)
                listener.subscribe(layout.APPLIED)
                while self._listens_to(port):
                    if found := listener.get_message(timeout=0.5):
                        self._hear(port, json.loads(found["data"]))
            time.sleep(0.02)

    def _listens_to(self, port: int) -> bool:
        return not self._ended and self._port == port

    def _hear(self, port: int, said: dict[str, Any]) -> None:
        with self._lock:
            if port != self._port:
                return
            for name in said.get("names", ()):
                first, _, rest = name.partition(":")
                if first == "end":
                    self.ends.add(rest)
                elif first == "mark":
                    row, version = map(int, rest.split(":"))
                    self.announced += 1
                    self._known[row] = max(version, self._known[row])
                    if self._claiming:
                        self._raise(row, version)

    def _raise(self, row: int, version: int) -> None:
        self._board.raise_floor(row, version)
        self._ages.append((time.monotonic() + NEAR_LIMIT, row, version))

    def _age(self) -> None:
        while not self._ended:
            with self._lock:
                while self._ages and self._ages[0][0] <= time.monotonic():
                    _, row, version = self._ages.popleft()
                    self._board.age(row, version)
            time.sleep(0.02)


class System:
    """`with System(...) as it:` starts everything, and ends it."""

    def __init__(
        self, folder: Path, kafka: Kafka, postgres: str, options: argparse.Namespace
    ) -> None:
        self.options = options
        self.kafka = kafka
        self.postgres = postgres
        self.board = Board(folder / "board")
        self.listener = Listener(self.board)
        self.notes = folder / "notes"
        self._folder = folder
        self._stack = ExitStack()
        self.topic = kafka.topic("rows", PARTITIONS)
        self.watched = Watched()
        self.source = RedisServer()
        self.readers: dict[int, subprocess.Popen[bytes]] = {}
        self.writers: dict[int, subprocess.Popen[bytes]] = {}
        self.settings: dict[str, str] = {}
        self.daemon: DaemonProcess

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        with psycopg.connect(self.postgres, autocommit=True) as database:
            database.execute(TABLE)
            database.execute(
                "INSERT INTO rows SELECT n, 1 FROM generate_series(0, %s) n", [ROWS - 1]
            )
        enter = self._stack.enter_context
        enter(self.watched)
        enter(self.source)
        self.primary, self.replica = self.watched.primary, self.watched.replica
        self.proxy = enter(Proxy(self.primary.port, random.Random(0)))
        (self._folder / "rules.yaml").write_text(RULES)
        self.settings = {
            "RULES": str(self._folder / "rules.yaml"),
            "REDIS_URL": self.watched.url,
            "SOURCE_REDIS_URL": self.source.url,
            "PUBSUB__CHANNELS": self.topic,
            "KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "KAFKA__TOPICS": self.topic,
            "KAFKA__GROUP_ID": unique("group"),
            "KAFKA__START": "earliest",
            "KAFKA__SESSION_TIMEOUT": "6s",
            "REWIND": "30s",
            "LOG__LEVEL": "info",
        }
        self._stack.callback(self._end)
        self.listener.listen_to(self.primary.port)
        self.start_daemon()
        self.await_daemon()
        for number in range(READERS):
            self.start_reader(number)
        for number in range(WRITERS):
            self.start_writer(number)

    def _end(self) -> None:
        for process in [*self.readers.values(), *self.writers.values()]:
            process.kill()
            process.wait()
        self.daemon.close()
        self.listener.stop()

    # --- processes ------------------------------------------------------------------------------

    def start_daemon(self) -> None:
        self.daemon = DaemonProcess(self.settings, command=[*dies_with_us(), str(PROGRAM), "run"])

    def await_daemon(self) -> None:
        try:
            self.daemon.await_ready(READY)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.daemon.log()[-3000:]}") from None

    def start_reader(self, number: int) -> None:
        """Start a reader; half are of each world, and half keep copies in their process."""
        words = ["--number", str(number), "--notes", str(self.notes)]
        words += ["--world", "asyncio" if number < READERS // 2 else "threads"]
        words += ["--sentinels", *(str(each.port) for each in self.watched.sentinels)]
        if number % 4 < 2:  # one of each world with copies, one without
            words += ["--through", str(self.proxy.port)]
        if self.options.aside:
            words.append("--aside")
        elif number % 2:
            words.append("--near")
        self.readers[number] = self._popen("reader", words)

    def start_writer(self, number: int) -> None:
        self.writers[number] = self._popen("writer", [])

    def _popen(self, module: str, words: list[str]) -> subprocess.Popen[bytes]:
        common = {
            "board": str(self._folder / "board"),
            "postgres": self.postgres,
            "bootstrap": self.kafka.bootstrap,
            "topic": self.topic,
            "source": self.source.url,
        }
        flags = [word for name, value in common.items() for word in (f"--{name}", value)]
        with (self._folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [*dies_with_us(), sys.executable, "-m", f"tests.system.{module}", *flags, *words],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def stale(self) -> list[Any]:
        """Return the reads that broke the promise."""
        notes = self.notes.read_text().splitlines() if self.notes.exists() else []
        return list(map(json.loads, notes))

    def died(self) -> str:
        """Return what processes said that ended by themselves."""
        ended = [p.args for p in [*self.readers.values(), *self.writers.values()] if p.poll()]
        logs = [(self._folder / f"{name}.log") for name in ("reader", "writer")]
        said = "\n".join(log.read_text()[-3000:] for log in logs if log.exists())
        return f"{len(ended)} processes ended by themselves:\n{said}" if ended else ""

    def primary_port(self) -> int:
        """Return the primary's port, as the sentinels see it."""
        for sentinel in self.watched.sentinels:
            with suppress(redis.RedisError), redis.Redis(port=sentinel.port) as client:
                asked: Any = client
                found = asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
                return int(found[1])
        return 0

    # --- reading again after a failover ---------------------------------------------------------

    def rewinds(self) -> float:
        return self.daemon.metric("invalidator_rewinds_total", source="kafka")

    def await_end_of_topic(self) -> None:
        """Wait until the daemon has applied all that every partition holds now."""
        numbers = [unique("end") for _ in range(PARTITIONS)]
        for partition, number in enumerate(numbers):
            event = json.dumps({"type": "topic.end", "data": {"number": number}})
            self.kafka.produce(self.topic, [event], partition=partition)
        until_sync(lambda: self.listener.ends.issuperset(numbers), what="all was applied again")
