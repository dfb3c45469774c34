"""The daemon: pipelines, the tasks that support them, and a person's control over both."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog

from invalidator import __version__
from invalidator.admin import Admin, Busy, DaemonView
from invalidator.daemon.build import build_pipelines, connect_gauges
from invalidator.daemon.drain import Drain
from invalidator.daemon.notices import NoticeReader, Notices
from invalidator.deadletters import letters_of
from invalidator.errors import ConfigError, InvalidatorError, RulesError, place_of
from invalidator.freshness.build import build_freshness
from invalidator.freshness.truth import Truths, check_truth
from invalidator.pipeline.pause import Pause
from invalidator.pipeline.rules_in_force import Reloaded, RulesInForce
from invalidator.pipeline.tracing import traces
from invalidator.rules import RuleSet
from invalidator.rules.file.reload import Watcher, watch
from invalidator.runtime import metrics
from invalidator.runtime.health import Health
from invalidator.runtime.retry import until_available
from invalidator.runtime.tasks import end
from invalidator.runtime.urls import redact
from invalidator.settings import Settings, describe
from invalidator.settings.caches import check_caches
from invalidator.sources.build import sources_of
from invalidator.sources.reread import UNWATCHED
from invalidator.targets.build import gate, store_of
from invalidator.targets.redis.failover import IdentityWatch

log = structlog.get_logger("invalidator")

PROBE_EVERY = 2.0  # seconds between two probes of a server that has nothing to do
LEFT = (
    "not all that was read: topics are paused, or second passes (repeat_after) are due after "
    "INVALIDATOR_DRAIN_TIMEOUT. Their events are read again by the next start"
)
CLEAN, UNSETTLED = 0, 3  # exit codes; the others are the command line's


class Crashed(InvalidatorError):  # noqa: N818 - the domain's word
    """A mistake of ours. The error's own text is not repeated: it may quote an event."""

    def __init__(self, error: str, where: str) -> None:
        super().__init__(
            f"ended by an unexpected {error} at {where}. What was not settled is read again, "
            "except from pub/sub. With --debug, the traceback is shown"
        )


class Daemon:
    """Everything that runs, built before anything starts."""

    def __init__(self, settings: Settings, watcher: Watcher) -> None:
        self._settings = settings
        self._watcher = watcher
        rules, problems = watcher.start()
        check_caches(settings, rules.caches)
        self._health = Health()
        self._pause = Pause(self._health)
        self._notices = Notices.of(settings)
        self._store = store_of(settings, self._health)
        self.in_force = RulesInForce(rules, settings, self._store.enforce)
        self._watch = self._build_watch()
        self._dead = letters_of(settings)
        self._traces = traces() if settings.traces else None
        check_truth(rules.verified, settings)
        self._truths = Truths(settings)
        self.freshness, traffic = build_freshness(
            settings,
            self._store,
            self._truths,
            lambda: self._watch.identity if self._watch else "",
        )
        self._pipelines = build_pipelines(
            settings,
            self._health,
            sources_of(settings, self._health, self._watch or UNWATCHED),
            lambda: self.in_force.rules,
            self._store,
            gate(self._store),
            self._dead,
            self._pause,
            self._traces,
            self.freshness,
        )
        traffic.watch(self._pause, self._pipelines)
        if not self._pipelines:
            raise ConfigError(
                "no source of events: set INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS and "
                "INVALIDATOR_KAFKA__TOPICS, or INVALIDATOR_PUBSUB__CHANNELS, "
                "or INVALIDATOR_STREAMS__KEYS"
            )
        view = DaemonView(
            self.in_force,
            self._health,
            self._pipelines,
            self._store,
            self._pause,
            str(settings.rules),
            settings.dry_run,
            self.freshness,
        )
        self._admin = Admin(view, self, settings)
        self._drain = Drain(settings.drain_timeout)
        connect_gauges(self._pipelines, self._store, self._health)
        metrics.FRESHNESS_WAITING.ask(lambda: [((), self.freshness.waiting)])
        if problems:
            self.in_force.reject(RulesError(problems))

    async def run(self, on_start: Callable[[str], None] = lambda admin_url: None) -> int:
        """Run until a signal; return the exit code. `on_start` is called with the admin URL."""
        async with AsyncExitStack() as stack:
            for close in (
                self._store.close,
                self._dead.aclose,
                self._notices.aclose,
                self._truths.aclose,
            ):
                stack.push_async_callback(close)
            if self._traces:
                stack.push_async_callback(self._traces.close)
            stack.push_async_callback(self._admin.stop)
            url = await self._admin.start()
            self._drain.listen()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.in_force.look.set)
            self._announce(url)
            on_start(url)
            _spare_the_collector()
            return await self._work()

    async def _work(self) -> int:
        work = asyncio.create_task(self._run_all(), name="work")
        try:
            ended = await self._drain.complete(work, self._stop)
        except InvalidatorError:
            raise
        except Exception as error:
            raise _crash(error) from error
        if not ended:
            log.warning(
                "drain-forced" if self._drain.forced else "drain-timeout",
                settled="not all that was read; the rest is read again, except from pub/sub",
            )
            return UNSETTLED
        if left := sum(pipeline.unsettled for pipeline in self._pipelines):
            log.warning("stopped", settled=LEFT, unsettled=left)
            return UNSETTLED
        log.info("stopped", settled="all that was read")
        return CLEAN

    def _stop(self) -> None:
        if signal := self._drain.signal:
            log.info("stopping", signal=signal, drain_timeout=self._drain.within)
        self._pause.end()
        for pipeline in self._pipelines:
            pipeline.stop(within=self._drain.within)

    async def _run_all(self) -> None:
        """Run the pipelines, and for as long the tasks that sweep, probe and reload."""
        rules, store, dead = self.in_force, self._store, self._dead
        dry = self._settings.dry_run  # a probe writes
        probe_dead = dead.ping if dry else dead.probe
        probe_store = store.ping if dry else store.probe
        notices = NoticeReader(self._notices, self._pause)
        if not dry:
            await notices.first()
        async with asyncio.TaskGroup() as support:
            helpers = [
                support.create_task(self._recover()),
                *([] if dry else [support.create_task(notices.run())]),
                support.create_task(store.run()),
                support.create_task(self.freshness.run()),
                *([support.create_task(self._watch.run())] if self._watch else []),
                support.create_task(self._keep_probing(probe_store, gate(store))),
                support.create_task(self._keep_probing(probe_dead, "dead letters")),
                support.create_task(
                    watch(self._watcher, self._reload, rules.reject, wake=rules.look)
                ),
            ]
            async with asyncio.TaskGroup() as pipelines:
                for pipeline in self._pipelines:
                    pipelines.create_task(pipeline.run())
            await end(*helpers)

    def _reload(self, rules: RuleSet) -> None:
        self.in_force.load(rules)
        self._warn_of_unkept_rules()

    def _warn_of_unkept_rules(self) -> None:
        """Warn now: otherwise it is noticed when the copy is needed."""
        if reason := self._watcher.unkept:
            log.warning("last-good-rules-not-kept", reason=reason)

    async def _keep_probing(self, probe: Callable[[], Awaitable[None]], part: str) -> None:
        """Keep readiness true for a server that has nothing to do."""
        while True:
            await until_available(probe, self._health.part(part), who="probe")
            await asyncio.sleep(PROBE_EVERY)

    async def _recover(self) -> None:
        """Finish tags that a crash left half consumed: no event may come again to do it."""
        rules = self.in_force.rules
        if "tags" in rules.kinds and not self._settings.dry_run:
            await until_available(
                partial(self._store.recover, rules.caches),
                self._health.part(gate(self._store)),
                who="recovery",
            )

    # --- a person's control -----------------------------------------------------------------

    async def reload(self) -> Reloaded:
        return await self.in_force.reload()

    def pause(self, why: str) -> None:
        """Pause reading, but not during a drain: what pub/sub has in memory would be lost."""
        if self._drain.signal:
            raise Busy("the daemon is about to end: it reads nothing new, and applies the rest")
        log.warning("reading-paused", why=why)
        self._pause.pause(why)

    def resume(self) -> None:
        """End this daemon's pause; without one, resume the topics that are paused because rules
        reject them. Raises Busy if all daemons are paused."""
        paused = self._pause.own is not None
        self._pause.resume()
        if shared := self._pause.shared:
            who = shared.who or "a person"
            raise Busy(f"all daemons are paused by {who}: `invalidator resume --all` ends that")
        topics = [] if paused else [topic for each in self._pipelines for topic in each.resume()]
        log.info("reading-resumed", topics=topics)

    # --- wiring -----------------------------------------------------------------------------

    def _build_watch(self) -> IdentityWatch | None:
        """Detect failovers of the caches, and apply nothing before their identities are known."""
        if self._settings.dry_run or not self._settings.rewind:
            return None
        hosts = self._store.hosts
        watch = IdentityWatch([host.servers for host in hosts], self._settings.rewind)
        for host in hosts:
            host.identity_watch = watch
        return watch

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
        for entry in describe(self._settings):
            if entry.hidden:
                log.warning("secret-hidden", setting=entry.name, reason=entry.hidden)
        self.in_force.report()
        self._warn_of_unkept_rules()


def _crash(error: Exception) -> Crashed:
    """Return what a person needs to know of the mistake that ended all tasks."""
    crashed = Crashed(type(error).__name__, place_of(error))
    log.critical("crashed", reason=str(crashed))
    return crashed


def _spare_the_collector() -> None:
    """Make garbage collection rare: batches are many objects without cycles.

    Nothing is collected before: the little garbage of a start is not worth the 60 ms.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 20, 50)
