"""One process: wiring, signals, drain."""

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol

import structlog

from invalidator import __version__
from invalidator.admin import Admin, House
from invalidator.daemon import gauges
from invalidator.deadletters import letters_of
from invalidator.errors import ConfigError, InvalidatorError, RulesError, first_of, place_of
from invalidator.model import Record
from invalidator.pipeline.holding import Holding, Pausable
from invalidator.pipeline.inflight import InFlight
from invalidator.pipeline.injection import Injection
from invalidator.pipeline.pause import Valve
from invalidator.pipeline.pipeline import Caches, Letters, Limits, Pipeline
from invalidator.pipeline.rules_in_force import InForce, Reloaded
from invalidator.pipeline.samples import Hits
from invalidator.pipeline.tracing import traces
from invalidator.rules import Explanation, RuleSet
from invalidator.rules.file.reload import Watcher, watch
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.retry import until_available
from invalidator.runtime.tasks import end
from invalidator.runtime.urls import redact
from invalidator.settings import Settings
from invalidator.settings.caches import unknown_caches
from invalidator.sources.build import sources_of
from invalidator.sources.person import Busy, Sent
from invalidator.sources.source import Source
from invalidator.sources.trail import TIMELESS
from invalidator.targets.build import gate, store_of
from invalidator.targets.dry import DryLetters, DryStore
from invalidator.targets.redis.rewind import Known, Watch

log = structlog.get_logger("invalidator")

WATCH_EVERY = 2.0  # seconds between two questions to a Redis that has nothing to do
FORCED_WITHIN = 3.0  # seconds that a forced exit leaves for closing connections
LEFT = (
    "not all that was read: second passes (repeat_after) are due after INVALIDATOR_DRAIN_TIMEOUT; "
    "their events, and those behind them, are read again by the next start"
)
CLEAN, UNSETTLED = 0, 3  # exit codes; the others are the command line's


class Crashed(InvalidatorError):  # noqa: N818 - the domain's word
    """A mistake of ours. The error's own words are not repeated: they may quote an event."""

    def __init__(self, error: str, where: str) -> None:
        super().__init__(
            f"ended by an unexpected {error} at {where}. What was not settled is read again, "
            "except from pub/sub. With --debug, the traceback is shown"
        )


class Asked(Protocol):
    """A server that may be away, and not know of it."""

    async def ping(self) -> None:
        """Raise Unavailable unless it answers."""

    async def probe(self) -> None:
        """The same, and whether it lets us work."""


class Daemon:
    """Everything that runs, built before anything starts."""

    def __init__(self, settings: Settings, watcher: Watcher) -> None:
        if not settings.has_sources:
            raise ConfigError(
                "no source of events: set INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS and "
                "INVALIDATOR_KAFKA__TOPICS, or INVALIDATOR_PUBSUB__CHANNELS, "
                "or INVALIDATOR_STREAMS__KEYS"
            )
        self._settings = settings
        self._watcher = watcher
        rules, problems = watcher.start()
        if unknown := [*unknown_caches(settings, rules.caches)]:
            raise ConfigError("\n".join(unknown))
        self._health = Health()
        self._valve = Valve(self._health)
        self._store = store_of(settings, self._health)
        self.in_force = InForce(rules, settings, self._store.enforce)
        self._watch = self._build_watch()
        self._dead = letters_of(settings)
        self._traces = traces() if settings.traces else None
        self._injection: Injection | None = None
        self._pipelines = self._build_pipelines()
        self._house = House(
            self.in_force,
            self._health,
            self._pipelines,
            self._store,
            self._valve,
            str(settings.rules),
            settings.dry_run,
        )
        self._admin = Admin(self._house, self, settings)
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        gauges.connect(self._pipelines, self._store, self._health)
        if problems:
            self.in_force.refuse(RulesError(problems))

    async def run(self, on_start: Callable[[str], None] = lambda admin_url: None) -> int:
        """Until a signal; the exit code. `on_start` hears the admin URL once it listens."""
        async with AsyncExitStack() as stack:
            for close in (self._store.close, self._dead.aclose):
                stack.push_async_callback(close)
            if self._traces:
                stack.push_async_callback(self._traces.close)
            stack.push_async_callback(self._admin.stop)
            url = await self._admin.start()
            self._listen_to_signals()
            self._announce(url)
            on_start(url)
            _spare_the_collector()
            return await self._work()

    async def _work(self) -> int:
        work = asyncio.create_task(self._run_all(), name="work")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        force = asyncio.create_task(self._force.wait(), name="force")
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            self._valve.open()
            for pipeline in self._pipelines:
                pipeline.stop(within=self._settings.drain_timeout)
            await asyncio.wait(
                {work, force},
                timeout=self._settings.drain_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return await self._end(work)
        finally:
            for task in (work, stop, force):
                task.cancel()
            await asyncio.wait({work, stop, force}, timeout=FORCED_WITHIN)

    async def _end(self, work: asyncio.Task[None]) -> int:
        if work.done():
            if error := work.exception():
                raise _crash(error)
            if left := sum(pipeline.unsettled for pipeline in self._pipelines):
                log.warning("stopped", settled=LEFT, batches=left)
                return UNSETTLED
            log.info("stopped", settled="all that was read")
            return CLEAN
        log.warning(
            "forced" if self._force.is_set() else "drain-timeout",
            settled="not all that was read; the rest is read again, except from pub/sub",
        )
        return UNSETTLED

    async def _run_all(self) -> None:
        """The pipelines; beside them what sweeps, watches and reloads, for as long as they run."""
        rules = self.in_force
        async with asyncio.TaskGroup() as beside:
            helpers = [
                beside.create_task(self._recover()),
                beside.create_task(self._store.run()),
                *([beside.create_task(self._watch.run())] if self._watch else []),
                beside.create_task(self._keep_asking(self._store, gate(self._store))),
                beside.create_task(self._keep_asking(self._dead, "dead letters")),
                beside.create_task(
                    watch(self._watcher, self._accept, rules.refuse, wake=rules.look)
                ),
            ]
            async with asyncio.TaskGroup() as pipelines:
                for pipeline in self._pipelines:
                    pipelines.create_task(pipeline.run())
            await end(*helpers)

    def _accept(self, rules: RuleSet) -> None:
        self.in_force.accept(rules)
        self._tell_unkept()

    def _tell_unkept(self) -> None:
        """Else it is noticed when the copy is needed."""
        if reason := self._watcher.unkept:
            log.warning("last-good-rules-not-kept", reason=reason)

    async def _keep_asking(self, server: Asked, part: str) -> None:
        """Keep the truth about one that has nothing to do. A dry run only looks."""
        probe = server.ping if self._settings.dry_run else server.probe
        while True:
            await until_available(probe, self._health.part(part), who="probe")
            await asyncio.sleep(WATCH_EVERY)

    async def _recover(self) -> None:
        """What a crash left half done, where no event comes again to finish it."""
        rules = self.in_force.rules
        if "tags" in rules.kinds and not self._settings.dry_run:
            await until_available(
                partial(self._store.recover, rules.caches),
                self._health.part(gate(self._store)),
                who="recovery",
            )

    # --- a person's hand --------------------------------------------------------------------

    async def reload(self) -> Reloaded:
        return await self.in_force.reload()

    def pause(self, why: str) -> None:
        """Not while all ends: what pub/sub has in memory would be lost with it."""
        if self._stop.is_set():
            raise Busy("the daemon is about to end: it lets nothing new in, and applies the rest")
        log.warning("paused", why=why)
        self._valve.close(why)

    def resume(self) -> None:
        """After a person's pause; else what the brake holds, whatever the rules reject of it."""
        if self._valve.closed:
            self._valve.open()
            log.info("resumed")
            return
        released = [origin for pipeline in self._pipelines for origin in pipeline.resume()]
        log.info("resumed", released=released)

    def send(self, raw: bytes, origin: str) -> Sent:
        assert self._injection  # its pipeline runs wherever a token lets anybody call this
        return self._injection.source.send(raw, origin)

    # --- wiring -----------------------------------------------------------------------------

    def _build_watch(self) -> Watch | None:
        """Over what the caches remember."""
        if self._settings.dry_run or not self._settings.rewind:
            return None
        return Watch([host.moments for host in self._store.hosts], self._settings.rewind)

    def _build_pipelines(self) -> Sequence[Pipeline]:
        settings = self._settings
        in_flight = InFlight(settings.in_flight.events, settings.in_flight.bytes)
        limits = Limits.of(settings)
        hits = Hits(self._store, limits.event_bytes)
        known = Known(self._store, self._watch) if self._watch else self._store
        caches: Caches = DryStore() if settings.dry_run else known
        letters: Letters = DryLetters() if settings.dry_run else self._dead
        fed: list[tuple[Source, Caches, Letters]] = [
            (source, caches, letters)
            for source in sources_of(settings, self._health, self._watch or TIMELESS)
        ]
        if settings.admin.token.get_secret_value():
            self._injection = Injection(caches, letters, self._explain)
            fed.append((self._injection.source, self._injection, self._injection))
        return [
            Pipeline(
                source,
                lambda: self.in_force.rules,
                its_caches,
                its_letters,
                in_flight=in_flight,
                limits=limits,
                health=self._health,
                hits=hits,
                holding=self._holding(source, in_flight),
                gate=gate(self._store),
                valve=None if its_caches is self._injection else self._valve,
                narrate=settings.log.level == "debug",
                spans=self._traces.spans(source.name) if self._traces else None,
            )
            for source, its_caches, its_letters in fed
        ]

    def _holding(self, source: Source, in_flight: InFlight) -> Holding | None:
        """The brake: none in a dry run, which keeps nothing."""
        if self._settings.dry_run or not isinstance(source, Pausable):
            return None
        most = self._settings.in_flight.bytes
        return Holding(source, self._health.part("rules"), in_flight, most)

    def _explain(self, record: Record) -> Explanation:
        return self.in_force.rules.explain(record, only_matching=True)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self.in_force.look.set)

    def _on_signal(self, number: signal.Signals) -> None:
        """The first asks for an orderly end, the second forces it."""
        if self._stop.is_set():
            self._force.set()
            return
        log.info("stopping", signal=number.name, drain_timeout=self._settings.drain_timeout)
        self._stop.set()

    def _announce(self, admin_url: str) -> None:
        metrics.BUILD.info({"version": __version__})
        log.info(
            "started",
            version=__version__,
            admin=admin_url,
            rules=self.in_force.rules.hash,
            redis=redact(self._settings.redis_url.get_secret_value()),
            sources=[pipeline.name for pipeline in self._pipelines],
            **({"dry_run": True} if self._settings.dry_run else {}),
        )
        self.in_force.tell()
        self._tell_unkept()


def _crash(error: BaseException) -> Exception:
    """What a person needs to know of the failure that ended all tasks."""
    error = first_of(error)
    if isinstance(error, InvalidatorError):
        return error
    crashed = Crashed(type(error).__name__, place_of(error))
    log.critical("crashed", reason=str(crashed))
    crashed.__cause__ = error
    return crashed


def _spare_the_collector() -> None:
    """What is loaded stays; and batches are many objects that no cycle ties.

    Nothing is collected before: the little garbage of a start is not worth the 60 ms.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 20, 50)
