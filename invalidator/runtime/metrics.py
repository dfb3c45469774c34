"""Every metric, declared once, with its meaning. No label ever carries event data."""

import math
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

OTHER = "other"  # instead of a type that no rule names
MOST_LABELS = 500  # values of one label; what comes on top is "other"
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200)

Answers = Iterable[tuple[Sequence[str], float]]  # label values, and the value


class Asked(Collector):
    """A gauge whose values are known elsewhere: they are asked for when somebody looks."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._about = name, documentation, labels
        self._answer: Callable[[], Answers] = lambda: ()
        REGISTRY.register(self)

    def ask(self, answer: Callable[[], Answers]) -> None:
        """From now on. It may not wait for anything."""
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
    """What a counter counts now, by its labels' values in their order."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


class Bounded:
    """Values of a label, first come, first served."""

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
RELOADS = Counter("invalidator_rules_reloads_total", "Changed rules, by result.", ["result"])
RELOAD_OK = Gauge("invalidator_rules_reload_ok", "1 while the rules in force are those on disk.")

LOADED = Gauge(
    "invalidator_rules_loaded_timestamp_seconds", "When the rules in force were read, Unix time."
)

EVENTS = Counter(
    "invalidator_events_total",
    "Events settled, by type as rules name it, and by what became of them: applied, unmatched (no "
    "rule names the type, which is then 'other'), rejected (in the dead letters). Exact in number; "
    "how those applied divide into types is told from up to 16 of each batch.",
    ["source", "type", "outcome"],
)
RULE_EVENTS = Counter(
    "invalidator_rule_events_total",
    "Events that a rule applied to, from up to 16 of each batch: exact for batches not larger.",
    ["rule"],
)
RULE_NAMES = Counter(
    "invalidator_rule_names_total",
    "Names that a rule gave, from up to 16 events of each batch: exact for batches not larger. The "
    "same name of two events counts twice.",
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
    "From planned to applied, per batch, waits for a Redis that is away included.",
    ["source"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
EVENT_TO_APPLIED_SECONDS = Histogram(
    "invalidator_event_to_applied_seconds",
    "From an event's publication, by its record's time, until its keys, tags and versions are "
    "gone. Of each partition, channel or stream in a batch, the first and the last event count. "
    "Pub/sub carries no time: from when it was received.",
    ["source"],
    buckets=LATENCY,
)
EVENT_TO_SETTLED_SECONDS = Histogram(
    "invalidator_event_to_settled_seconds",
    "The same until all is done: sweeps, second passes and dead letters too. Of each batch, its "
    "oldest event counts.",
    ["source"],
    buckets=LATENCY,
)
OLDEST = Asked(
    "invalidator_oldest_unsettled_seconds",
    "Age of the oldest event that was read and is not settled; 0 when there is none.",
    ["source"],
)
LAG = Asked(
    "invalidator_lag_events",
    "Events that are not settled yet, as far as the source tells: Kafka, those behind the last "
    "settled position; streams, from Redis 7 on, those not given out and those pending, looked up "
    "every 15 s; pub/sub, those received and not read.",
    ["source"],
)
PARTITION_LAG = Asked(
    "invalidator_partition_lag_events",
    "The same for each partition or stream: this member's, and 500 of them at most.",
    ["source", "topic", "partition"],
)
NOTES = Counter(
    "invalidator_rule_notes_total",
    "Events about which a rule has something to say: its condition failed (condition-failed), or "
    "its on_reject was done instead (on-reject).",
    ["rule", "note"],
)
SAMPLED = Counter(
    "invalidator_sampled_names_total",
    "Names of which was looked up whether they are there, before they were invalidated: a sample.",
    ["rule", "kind"],
)
SAMPLED_EXISTED = Counter(
    "invalidator_sampled_names_existed_total", "Those of them that were there.", ["rule", "kind"]
)
NEVER_HIT = Gauge(
    "invalidator_rule_templates_never_hit",
    "Templates of a rule in force of which none of the first thousand sampled names was there.",
    ["rule"],
)
NAMES = Counter(
    "invalidator_names_total",
    "Operations: names applied to the caches, deduplicated within their batch.",
    ["cache", "kind"],
)
EXISTED = Counter("invalidator_keys_existed_total", "Keys that were there when they were deleted.")
SWEEPS = Counter("invalidator_sweeps_total", "Sweeps over the whole keyspace that are over.")
SWEEP_SECONDS = Histogram(
    "invalidator_sweep_seconds",
    "From a sweep's begin to its end, passes that had to be repeated included.",
    buckets=(0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
SWEEPING_KEYS = Gauge(
    "invalidator_sweeping_keys",
    "Keys that the sweep under way has to look at, once it takes longer than some seconds; 0: none "
    "is.",
    ["redis"],
)
SWEEPING_SEEN = Gauge(
    "invalidator_sweeping_keys_seen", "How many of them it has looked at in this pass.", ["redis"]
)
SWEEPS_RUNNING = Gauge("invalidator_sweeps_running", "Sweeps that are under way.")
PATTERNS_WAITING = Asked(
    "invalidator_patterns_waiting", "Patterns that no sweep has begun on.", ["redis"]
)
TICKETS = Asked(
    "invalidator_tickets_waiting",
    "Batches that are applied, and wait for a sweep or a second pass.",
    ["source"],
)
RETRIES = Counter(
    "invalidator_retries_total",
    "Tries that failed because a server was away or refused everything, each of them tried again; "
    "by the part of readiness, and by a word for the reason (timeout, connection, readonly, oom).",
    ["part", "reason"],
)
PAUSED = Gauge("invalidator_paused", "1 while a person keeps events from being read, else 0.")
READY = Asked("invalidator_ready", "Parts of readiness: 1 while ready, else 0.", ["part"])
DEAD_LENGTH = Gauge(
    "invalidator_dead_letter_entries",
    "Entries in the stream of dead letters, when they were last counted.",
)
DEAD_LENGTH.set(math.nan)  # until then
DEAD = Counter("invalidator_dead_letters_total", "Events put into the dead letters.", ["error"])
BRAKED_ORIGINS = Gauge(
    "invalidator_braked_origins",
    "Topics, channels and streams that are paused, because rules reject most of their events.",
    ["source"],
)
UNREADABLE_ALARMS = Counter(
    "invalidator_unreadable_alarms_total",
    "Times in which more than half of at least 100 events could not be read.",
    ["source"],
)
DEAD_OLDEST = Gauge(
    "invalidator_dead_letters_oldest_timestamp_seconds",
    "When the oldest dead letter was written, Unix time; 0 when there is none.",
)
DEAD_FILL = Gauge(
    "invalidator_dead_letters_fill_ratio",
    "How near the dead letters are to a bound (length, age): from 1 on, the oldest are removed.",
    ["bound"],
)
DEAD_TRIMMED = Counter(
    "invalidator_dead_letters_removed_total",
    "Dead letters that were removed because of a bound (length, age).",
    ["bound"],
)
IN_FLIGHT = Gauge(
    "invalidator_in_flight_events",
    "Events held in memory: not applied yet, or rejected and not yet in the dead letters.",
)
WAITING = Gauge(
    "invalidator_waiting_names",
    "Names held in memory: until their second pass (repeat_after), or, of patterns, until their "
    "sweep is over.",
)
GAPS = Counter(
    "invalidator_gaps_total",
    "Times in which a source may have missed events for good.",
    ["source", "cause"],
)
MISSED = Counter(
    "invalidator_missed_events_total",
    "Events that are known to be lost before they could be read; part of the gaps.",
    ["source"],
)
REWINDS = Counter(
    "invalidator_rewinds_total",
    "Times in which events were read again because a cache's Redis may have forgotten what was "
    "deleted: a failover, a restart.",
    ["source"],
)
ANNOUNCED = Counter(
    "invalidator_announced_total",
    "Messages on the channel invalidator:applied, heartbeats included, by what became of them: "
    "sent, skipped (nobody listened), refused (the server does not let us publish).",
    ["outcome"],
)
LISTENERS = Gauge(
    "invalidator_listeners",
    "Who received the last message on the channel invalidator:applied, over all Redis servers.",
)
BRAKED = Counter(
    "invalidator_braked_seconds_total",
    "How long deletions were held back by INVALIDATOR_MAX_DELETES_PER_SECOND.",
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
