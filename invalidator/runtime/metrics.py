"""All metrics with their meanings. No label ever contains event data."""

import math
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all series, and Prometheus does not need them

OTHER = "other"  # stands for types that no rule names
MOST_LABELS = 500  # values of one label; further ones become "other"
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200)

Samples = Iterable[tuple[Sequence[str], float]]  # label values, and the value


class Asked(Collector):
    """A gauge whose values are computed when it is scraped."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._about = name, documentation, labels
        self._answer: Callable[[], Samples] = lambda: ()
        REGISTRY.register(self)

    def ask(self, answer: Callable[[], Samples]) -> None:
        """Set the function that returns the values; it must not wait."""
        self._answer = answer

    def describe(self) -> Iterable[GaugeMetricFamily]:
        name, documentation, labels = self._about
        yield GaugeMetricFamily(name, documentation, labels=labels)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        (family,) = self.describe()
        for labels, value in self._answer():
            family.add_metric(labels, value)
        yield family


def counted(metric: Counter) -> dict[tuple[str, ...], float]:
    """Return the values of a counter, by its labels' values in order."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


class Bounded:
    """Limits the values of a label to the first ones."""

    def __init__(self, most: int = MOST_LABELS) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


BUILD = Info("invalidator_build", "The running version.")
RULES = Info("invalidator_rules", "The rules in force, by their hash.")
RELOADS = Counter(
    "invalidator_rules_reloads_total", "Changed rules, by result: loaded or rejected.", ["result"]
)
RELOAD_OK = Gauge("invalidator_rules_reload_ok", "1 while the rules in force are those on disk.")

LOADED = Gauge(
    "invalidator_rules_loaded_timestamp_seconds", "When the rules in force were read, Unix time."
)

EVENTS = Counter(
    "invalidator_events_total",
    "Events settled, by type as rules name it and by outcome: applied, unmatched (no rule names "
    "the type, which is then 'other'), rejected (in the dead letters). The total is exact; the "
    "types of applied events are estimated from up to 16 of each batch.",
    ["source", "type", "outcome"],
)
RULE_EVENTS = Counter(
    "invalidator_rule_events_total",
    "Events that a rule applied to, estimated from up to 16 of each batch; exact for smaller ones.",
    ["rule"],
)
RULE_NAMES = Counter(
    "invalidator_rule_names_total",
    "Names that a rule produced, estimated from up to 16 events of each batch; exact for smaller "
    "ones. The same name of two events counts twice.",
    ["rule", "kind"],
)
BATCHES = Counter("invalidator_batches_total", "Batches settled.", ["source"])
BATCH_EVENTS = Histogram(
    "invalidator_batch_events",
    "Events per batch.",
    ["source"],
    buckets=(1, 10, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000),
)
APPLY_SECONDS = Histogram(
    "invalidator_apply_seconds",
    "From planned to applied, per batch, including waits for an unavailable Redis.",
    ["source"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
EVENT_TO_APPLIED_SECONDS = Histogram(
    "invalidator_event_to_applied_seconds",
    "From an event's publication, by its record's time, until its keys, tags and versions are "
    "invalidated. Of each partition, channel or stream in a batch, the first and the last event "
    "count. Pub/sub has no timestamps: there it is measured from reception.",
    ["source"],
    buckets=LATENCY,
)
EVENT_TO_SETTLED_SECONDS = Histogram(
    "invalidator_event_to_settled_seconds",
    "The same until everything is done, including sweeps, second passes and dead letters. Of each "
    "batch, its oldest event counts.",
    ["source"],
    buckets=LATENCY,
)
OLDEST = Asked(
    "invalidator_oldest_unsettled_seconds",
    "Age of the oldest event that was read and is not settled; 0 if there is none.",
    ["source"],
)
LAG = Asked(
    "invalidator_lag_events",
    "Events that are not settled yet: in Kafka, those after the last settled position; in streams "
    "(Redis 7 or later), those not delivered and those pending, looked up every 15 s; in pub/sub, "
    "those received and not read.",
    ["source"],
)
PARTITION_LAG = Asked(
    "invalidator_partition_lag_events",
    "The same for each partition or stream of this member, at most 500 of them.",
    ["source", "topic", "partition"],
)
NOTES = Counter(
    "invalidator_rule_notes_total",
    "Events for which a rule noted something: its condition failed (condition-failed), or its "
    "on_reject was applied instead (on-reject).",
    ["rule", "note"],
)
SAMPLED = Counter(
    "invalidator_sampled_names_total",
    "A sample of names that were looked up before they were invalidated.",
    ["rule", "kind"],
)
SAMPLED_EXISTED = Counter(
    "invalidator_sampled_names_existed_total", "Those of them that existed.", ["rule", "kind"]
)
NEVER_HIT = Gauge(
    "invalidator_rule_templates_never_hit",
    "Templates of a rule in force of which none of the first thousand sampled names existed.",
    ["rule"],
)
NAMES = Counter(
    "invalidator_names_total",
    "Operations: names applied to the caches, deduplicated within their batch.",
    ["cache", "kind"],
)
EXISTED = Counter("invalidator_keys_existed_total", "Keys that existed when they were deleted.")
SWEEPS = Counter("invalidator_sweeps_total", "Completed sweeps over the whole keyspace.")
SWEEPS_SHARED = Counter(
    "invalidator_sweeps_shared_total", "Sweeps that another member of the fleet made for this one."
)
SWEEP_SECONDS = Histogram(
    "invalidator_sweep_seconds",
    "From the start of a sweep to its end, including repeated passes.",
    buckets=(0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
SWEEPING_KEYS = Gauge(
    "invalidator_sweeping_keys",
    "Keys that the running sweep has to scan, once it takes more than a few seconds; 0: none runs.",
    ["redis"],
)
SWEEPING_SEEN = Gauge(
    "invalidator_sweeping_keys_seen", "How many of them it has scanned in this pass.", ["redis"]
)
SWEEPS_RUNNING = Gauge("invalidator_sweeps_running", "Sweeps that are running.")
PATTERNS_WAITING = Asked(
    "invalidator_patterns_waiting", "Patterns for which no sweep has started.", ["redis"]
)
TICKETS = Asked(
    "invalidator_tickets_waiting",
    "Batches that are applied and wait for a sweep or a second pass.",
    ["source"],
)
RETRIES = Counter(
    "invalidator_retries_total",
    "Attempts that failed because a server was unavailable or rejected everything, and were "
    "retried; by part of readiness, and by reason (timeout, connection, readonly, oom).",
    ["part", "reason"],
)
EDGE_REQUESTS = Counter(
    "invalidator_edge_requests_total",
    "Requests to caches at the edge, by status of the answer, or timeout, connection, protocol, "
    "tls.",
    ["cache", "status"],
)
EDGE_WAITING = Asked(
    "invalidator_edge_waiting_names",
    "Names that wait until others are sent to a server at the edge, by part of readiness.",
    ["part"],
)
PAUSED = Gauge("invalidator_paused", "1 while a person has paused reading, otherwise 0.")
READY = Asked("invalidator_ready", "Parts of readiness: 1 while ready, otherwise 0.", ["part"])
DEAD_LENGTH = Gauge(
    "invalidator_dead_letter_entries",
    "Entries in the stream of dead letters, when last counted.",
)
DEAD_LENGTH.set(math.nan)  # until then
DEAD = Counter("invalidator_dead_letters_total", "Events that became dead letters.", ["error"])
BRAKED_ORIGINS = Gauge(
    "invalidator_braked_origins",
    "Topics, channels and streams that are paused because the rules reject most of their events.",
    ["source"],
)
UNREADABLE_ALARMS = Counter(
    "invalidator_unreadable_alarms_total",
    "How often more than half of at least 100 events could not be parsed.",
    ["source"],
)
DEAD_OLDEST = Gauge(
    "invalidator_dead_letters_oldest_timestamp_seconds",
    "When the oldest dead letter was written, Unix time; 0 if there is none.",
)
DEAD_FILL = Gauge(
    "invalidator_dead_letters_fill_ratio",
    "How full the dead letters are by a bound (length, bytes, age); beyond 1 the oldest go.",
    ["bound"],
)
DEAD_TRIMMED = Counter(
    "invalidator_dead_letters_removed_total",
    "Dead letters that were removed because of a bound (length, bytes, age).",
    ["bound"],
)
LOG_DROPPED = Counter(
    "invalidator_log_lines_dropped_total",
    "Log lines that were dropped because nobody reads the pipe that they are written to.",
)
IN_FLIGHT = Gauge(
    "invalidator_in_flight_events",
    "Events in memory: not applied yet, or rejected and not yet in the dead letters.",
)
WAITING = Gauge(
    "invalidator_waiting_names",
    "Names in memory: until their second pass (repeat_after), or, for patterns, until the end of "
    "their sweep.",
)
GAPS = Counter(
    "invalidator_gaps_total",
    "How often a source may have missed events permanently.",
    ["source", "cause"],
)
MISSED = Counter(
    "invalidator_missed_events_total",
    "Events known to be lost before they could be read; part of the gaps.",
    ["source"],
)
REWINDS = Counter(
    "invalidator_rewinds_total",
    "How often events were read again because a cache's Redis may have lost deletions: a failover, "
    "a restart.",
    ["source"],
)
ANNOUNCED = Counter(
    "invalidator_announced_total",
    "Messages on the channel invalidator:applied, including heartbeats, by outcome: sent, skipped "
    "(nobody listened), refused (publishing was denied).",
    ["outcome"],
)
LISTENERS = Gauge(
    "invalidator_listeners",
    "Receivers of the last message on the channel invalidator:applied, over all Redis servers.",
)
BRAKED = Counter(
    "invalidator_braked_seconds_total",
    "How long deletions were delayed by INVALIDATOR_MAX_DELETES_PER_SECOND.",
)
LAST_MINUTE = Gauge(
    "invalidator_deletes_last_minute",
    "Names deleted within a minute, while INVALIDATOR_MAX_DELETES_PER_SECOND or "
    "INVALIDATOR_ALARM_DELETES is set.",
)
ALARMS = Counter(
    "invalidator_delete_alarms_total",
    "Minutes in which more names were deleted than INVALIDATOR_ALARM_DELETES.",
)
FRESHNESS = Counter(
    "invalidator_freshness_checks_total",
    "Checks of sampled names for rules with verify:, by the time since the event was applied, and "
    "by outcome: fresh, stale, superseded (a later event named it), in-flight (its sweep is under "
    "way), paused, dead-letter, unreadable (it cannot be compared), unavailable (a server or the "
    "source of truth did not answer).",
    ["rule", "delay", "outcome"],
)
FRESHNESS_WAITING = Asked(
    "invalidator_freshness_waiting", "Sampled names that are still to be checked.", ()
)
