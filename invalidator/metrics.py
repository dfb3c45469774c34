"""Every metric, declared once, with its meaning. No label ever carries event data."""

from prometheus_client import Counter, Gauge, Histogram, Info

BUILD = Info("invalidator_build", "The running version.")
RULES = Info("invalidator_rules", "The rules in force, by their hash.")
RELOADS = Counter("invalidator_rules_reloads_total", "Changed rules, by result.", ["result"])
RELOAD_OK = Gauge("invalidator_rules_reload_ok", "1 while the rules in force are those on disk.")

EVENTS = Counter(
    "invalidator_events_total",
    "Events settled, by what became of them: applied, unmatched (no rule names the type), "
    "rejected (in the dead letters).",
    ["source", "outcome"],
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
    "Names applied to the caches, deduplicated within their batch.",
    ["kind"],
)
EXISTED = Counter("invalidator_keys_existed_total", "Keys that were there when they were deleted.")
SWEEPS = Counter("invalidator_sweeps_total", "Sweeps over the whole keyspace that are over.")
SWEEP_SECONDS = Histogram(
    "invalidator_sweep_seconds",
    "From a sweep's begin to its end, passes that had to be repeated included.",
    buckets=(0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
DEAD = Counter("invalidator_dead_letters_total", "Events put into the dead letters.", ["error"])
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
