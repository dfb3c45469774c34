"""The tools of a row: servers, events, daemons, and the clock of the fault."""

import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.backends.redis_server import RedisServer
from tests.e2e.process import PROGRAM, clean_environment
from tests.faults.caches import Cache, OneServer, at
from tests.faults.inlets import Channel, Inlet, Stream, Topic
from tests.faults.late_reader import LateReader
from tests.faults.ledger import LATE, REPEAT_AFTER, RULES, Ledger
from tests.faults.load import Load
from tests.faults.member import Member
from tests.faults.proxy import Proxy

EVENTS = 4_000
DURABLE = {"appendonly": "yes", "appendfsync": "always"}  # a killed Redis forgets nothing
WARM = 0.05  # the share of events that comes before the first look at a daemon's vital signs


class Stage:
    """Made for one row; all that was started on it ends with it."""

    def __init__(
        self,
        stack: ExitStack,
        rng: random.Random,
        kafka: Callable[[], Kafka],
        *,
        short: bool = False,
        slack: float = 1.0,
    ) -> None:
        """`kafka` is a broker that rows share.

        Limits are multiplied by `slack`: on a busy machine they measure the machine.
        """
        self.rng = rng
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        self.members: list[Member] = []
        self.proxies: list[Proxy] = []
        self.load: Load
        self.late: LateReader | None = None  # who makes second passes necessary
        self.healed_at: float | None = None
        self.notes: list[str] = []  # what a row found wrong by itself
        self._stack = stack
        self._kafka = kafka
        self._short = short
        self._slack = slack

    # --- servers --------------------------------------------------------------------------

    def start(self, server: Any) -> Any:
        """Start anything that has to be ended: it ends with the row."""
        return self._stack.enter_context(server)

    def redis(self, config: Mapping[str, str] | None = None) -> RedisServer:
        return self._stack.enter_context(RedisServer(config=config))

    def broker(self, config: Mapping[str, str] | None = None) -> KafkaBroker:
        return self._stack.enter_context(KafkaBroker(config=config))

    def proxy(self, target: int) -> Proxy:
        self.proxies.append(self._stack.enter_context(Proxy(target, self._own_rng())))
        return self.proxies[-1]

    @property
    def kafka(self) -> Kafka:
        """Return the broker that rows share: it must not be harmed."""
        return self._kafka()

    # --- events ---------------------------------------------------------------------------

    def events(
        self,
        cache: Cache,
        *inlets: Inlet,
        count: int = EVENTS,
        **more: Any,
    ) -> Load:
        """Make the ledger of this row, and store its names in their old state."""
        ledger = Ledger(count, self.rng, **more)
        cache.prime(ledger)
        self.load = Load(ledger, cache, inlets, self._own_rng())
        if isinstance(cache, OneServer):
            keys = [key for entry in ledger.of(LATE) for key in entry.keys]
            reader = LateReader(keys, lambda: at(cache.port(), 1.0), 0.8 * REPEAT_AFTER)
            self.late = self.start(reader)
        return self.load

    def usual(
        self,
        server: RedisServer,
        through: Proxy | None = None,
        source: RedisServer | None = None,
        **more: Any,
    ) -> Load:
        """Take events from a topic and a stream, which is on the same Redis if no other is named.

        A proxy is only before the cache.
        """
        cache = OneServer(server, f"redis://{through.address}/0" if through else "")
        return self.events(cache, self.topic(), self.stream(source or server), **more)

    def from_everywhere(self, cache: Cache, source: RedisServer, **more: Any) -> Load:
        """Take events from a topic, and from a stream and a channel of a Redis that stays well.

        A channel is read by whoever is there: its daemon must be ready before anything is sent.
        """
        inlets = self.topic(), self.stream(source), self.channel(source)
        return self.events(cache, *inlets, **more)

    def topic(self, kafka: Kafka | None = None, partitions: int = 4, **more: Any) -> Topic:
        return Topic(kafka or self.kafka, self._stack, partitions, **more)

    def stream(self, server: RedisServer) -> Stream:
        return Stream(lambda: server.port, server.url)

    def channel(self, server: RedisServer, url: str = "") -> Channel:
        return Channel(lambda: server.port, url or server.url)

    def _own_rng(self) -> random.Random:
        """Return a generator for another thread, so that its draws change nothing here."""
        return random.Random(self.rng.random())

    # --- daemons --------------------------------------------------------------------------

    def daemon(self, rules: str = RULES, **settings: str) -> Member:
        if not self._rules.exists():
            self.rules(rules)
        told = {"RULES": str(self._rules), **self.load.settings, **settings}
        member = Member(f"member-{len(self.members)}", told, self.folder)
        self._stack.enter_context(closing(member.daemon))
        self.members.append(member)
        return member

    def run(self, *arguments: str) -> int:
        """Run another verb with the settings of the daemons; return its exit code."""
        told = {"RULES": str(self._rules), **self.load.settings}
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=clean_environment(told),
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode

    def rules(self, text: str) -> None:
        """Write the rules, and have the daemons read them."""
        self._rules.write_text(text)
        for member in self.living:
            member.reload()

    @property
    def _rules(self) -> Path:
        return self.folder / "rules.yaml"

    def warm(self) -> None:
        """Send some events, so that all connections are open; note each daemon's vital signs."""
        for member in self.members:
            member.await_ready()
        self.load.publish(WARM)
        self.load.await_settled()
        for member in self.members:
            member.before = member.vitals()

    @property
    def living(self) -> Sequence[Member]:
        return [member for member in self.members if member.alive]

    # --- the clock ------------------------------------------------------------------------

    def times(self, often: int) -> int:
        """Return how often something is done: a tenth in the short form."""
        return max(1, often // 10) if self._short else often

    def pause(self, seconds: float) -> None:
        """Wait until a fault comes, or for as long as it lasts."""
        time.sleep(seconds)

    def healed(self) -> None:
        """Note that the fault is over."""
        self.healed_at = time.monotonic()

    def note(self, wrong: bool, what: str) -> None:
        """Report `what` of the row if it is wrong."""
        if wrong:
            self.notes.append(what)

    @contextmanager
    def timed(self, limit: float, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.note(took > limit * self._slack, f"{what} took {took:.1f} s, not {limit:g}")
