"""Every setting: its name, its meaning, its default."""

from pathlib import Path

from pydantic import Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from invalidator.settings.security import Group, RedisTls, Sasl, Tls, check_unread
from invalidator.settings.values import (
    Announce,
    Count,
    Duration,
    FieldPaths,
    FilePath,
    Limit,
    LogFormat,
    LogLevel,
    Names,
    OptionalPath,
    OptionalText,
    OptionalTopic,
    Port,
    PositiveDuration,
    RedisUrl,
    Servers,
    SessionTimeout,
    Size,
    Start,
    Switch,
    Text,
    Token,
    Topics,
    names_topic,
)

PREFIX = "INVALIDATOR_"
SERVERS, TOPICS = f"{PREFIX}KAFKA__BOOTSTRAP_SERVERS", f"{PREFIX}KAFKA__TOPICS"
DEAD_TOPIC = f"{PREFIX}DEAD_LETTERS__TOPIC"


class Kafka(Group):
    bootstrap_servers: Servers = Field(
        default=(), description="Kafka brokers to ask first, as host:port. Empty: no Kafka."
    )
    topics: Topics = Field(
        default=(),
        description="Topics to read events from: names, and patterns, which are regular "
        "expressions that begin with ^ (^orders\\..*). New topics that match are found within 30s "
        "and read from their beginning.",
    )
    group_id: Text = Field(
        default="invalidator",
        description="The consumer group. All replicas of one deployment share it and divide the "
        "partitions between them.",
    )
    start: Start = Field(
        default="latest",
        description="Where a group that has no position yet begins: latest, earliest, or how far "
        "back (-1h). A group with a position goes on from there.",
    )
    session_timeout: SessionTimeout = Field(
        default=30.0,
        description="How long the group waits for a member that says nothing before others get "
        "its partitions: from 1s to 45s, and within the brokers' own bounds.",
    )
    instance_id: OptionalText = Field(
        default="",
        description="Makes this replica a static member of the group: a restart within "
        "SESSION_TIMEOUT moves no partitions. It must be another one for every replica.",
    )
    tls: Tls = Tls()
    sasl: Sasl = Sasl()

    @model_validator(mode="after")
    def _complete(self) -> "Kafka":
        check_unread(self.tls, self.sasl)
        if self.topics and not self.bootstrap_servers:
            raise ValueError(f"{SERVERS}: missing, because {TOPICS} names topics to read")
        return self


class PubSub(Group):
    channels: Names = Field(
        default=(),
        description="Redis pub/sub channels to listen on, names or globs (orders.*). Redis keeps "
        "nothing for an absent reader, so what is published during a restart is not seen.",
    )
    sharded_channels: Names = Field(
        default=(),
        description="Sharded channels (SPUBLISH) to listen on, by name: on a cluster each is heard "
        "only on the nodes that have its slot. Needs Redis 7.",
    )
    buffer: Count = Field(
        default=100_000,
        description="How many received messages may wait in memory, and no more bytes of them "
        "than INVALIDATOR_IN_FLIGHT__BYTES. What comes on top is dropped and counted.",
    )


class Streams(Group):
    keys: Names = Field(
        default=(), description="Redis Streams to read events from, by the names of their keys."
    )
    group: Text = Field(
        default="invalidator",
        description="The consumer group. All replicas of one deployment share it and divide the "
        "entries between them.",
    )
    consumer: OptionalText = Field(
        default="",
        description="This replica's name in the group. Empty: the name of the host. Under the same "
        "name a restarted one goes on at once with what it had pending.",
    )
    start: Start = Field(
        default="latest",
        description="Where a group that does not exist yet begins: latest, earliest, or how far "
        "back (-1h). The group is created at once.",
    )
    claim_after: PositiveDuration = Field(
        default=60.0,
        description="How long a consumer may be silent before others take over what it had "
        "pending.",
    )
    trim: Switch = Field(
        default=False,
        description="Whether to drop entries that every group of the stream has settled. Else the "
        "stream grows until its publishers trim it.",
    )


class Batch(Group):
    max_events: Count = Field(
        default=20_000, description="How many events are applied together at most."
    )
    max_wait: Duration = Field(
        default=0.0,
        description="How long the first event of a batch may wait for more. 0: a batch is "
        "whatever is there.",
    )
    max_event_bytes: Size = Field(
        default=1 << 20, description="An event larger than this goes to the dead letters unread."
    )


class InFlight(Group):
    events: Count = Field(
        default=60_000,
        description="How many events may be held in memory: read and not yet applied, or rejected "
        "and not yet in the dead letters. Reading pauses at the bound.",
    )
    bytes: Size = Field(
        default=64 << 20,
        description="How many bytes may be held in memory: of events, and of names that wait for "
        "their second pass (repeat_after). Reading pauses at the bound.",
    )


class DeadLetters(Group):
    max_length: Limit = Field(
        default=100_000,
        description="How many dead letters are kept; beyond it the oldest are removed, which is "
        "logged and counted. From 80% on it is warned of. 0: no bound.",
    )
    max_age: Duration = Field(
        default=30 * 86400.0,
        description="How long a dead letter is kept; then it is removed, which is logged and "
        "counted. From 80% on it is warned of. 0: for ever.",
    )
    topic: OptionalTopic = Field(
        default="",
        description="A Kafka topic for dead letters instead of the stream, on the brokers of "
        "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS. It must exist; how much it keeps is its own matter. "
        "`invalidator dead` works on the stream only.",
    )
    redact: FieldPaths = Field(
        default=(),
        description="What may not be stored: paths in the event as it was received "
        "(data.email, items.*.card, **.password), key, and headers.NAME. Values there are masked "
        "in dead letters; of an event that cannot be read the bytes are not kept at all.",
    )


class Log(Group):
    format: LogFormat = Field(
        default="json", description="json (one object a line) or console (for people)."
    )
    level: LogLevel = Field(
        default="info",
        description="debug, info, warning or error. Only debug shows keys and single events.",
    )


class Admin(Group):
    host: Text = Field(
        default="127.0.0.1",
        description="Address of the admin port: health, metrics, status, a page for people.",
    )
    port: Port = Field(default=8080, description="The admin port. 0 picks a free one and logs it.")
    token: Token = Field(
        default=SecretStr(""),
        description="What calls that change something (reload, pause, resume, events) have to "
        "bring as `Authorization: Bearer`: 16 characters or more. Empty: these calls are off.",
    )
    hosts: Names = Field(
        default=(),
        description="Names under which browsers and tools reach the admin port, beside addresses, "
        "localhost, HOST and names without a dot. Others are refused, except by the probes and "
        "/metrics: a foreign web page could stand behind them.",
    )


class Settings(BaseSettings):
    """All settings of one process, checked and complete. Made by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,  # lists are written with commas, not as JSON
        extra="ignore",  # an env file may hold other programs' names; `load` reports wrong ones
        frozen=True,
        hide_input_in_errors=True,
        secrets_dir_missing="ok",
    )

    rules: FilePath = Field(
        default=Path("rules.yaml"), description="The rules: a file, or a directory of files."
    )
    rules_last_good: OptionalPath = Field(
        default=None,
        description="Where to keep a copy of the last rules that were in order, and to start from "
        "where the rules are broken.",
    )
    dry_run: Switch = Field(
        default=False,
        description="Read and plan, but write nothing: no deletion, no dead letter, no position. "
        "The Kafka group is then GROUP_ID-dry-run, so that it takes no partition from a daemon; "
        "streams are read without a group.",
    )
    redis_url: RedisUrl = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="The Redis that holds the cache: redis://, unix://, "
        "redis+sentinel://host:port,host:port/service/db or redis+cluster://host:port,host:port; "
        "with TLS as rediss://, rediss+sentinel:// and rediss+cluster://. docs/topologies.md.",
    )
    caches: dict[str, RedisUrl] = Field(
        default_factory=dict,
        description="The Redis of the cache that the rules call NAME, where it is not "
        "INVALIDATOR_REDIS_URL. A batch is settled when all its caches have applied it, so one "
        "that is away holds up all: for isolation run one daemon per Redis. In NAME, `_` stands "
        "for any character that is no letter or digit.",
    )
    source_redis_url: RedisUrl = Field(
        default_factory=lambda known: known["redis_url"],
        description="The Redis where channels and streams live, if it is not the cache's.",
    )
    state_url: RedisUrl = Field(
        default_factory=lambda known: known["redis_url"],
        description="The Redis where dead letters are kept, if it is not the cache's. Best one "
        "that never evicts.",
    )
    redis_timeout: PositiveDuration = Field(
        default=2.0, description="How long any answer of Redis may take before it counts as away."
    )
    announce: Announce = Field(
        default="listened",
        description="Whether what was applied is announced on the channel invalidator:applied of "
        "its cache's Redis: while somebody listens there (listened), always (for listeners on "
        "replicas, which Redis does not count) or never.",
    )
    max_deletes_per_second: Limit = Field(
        default=0,
        description="How many names may be deleted in a second, over all caches; what is more "
        "waits. 0: as fast as Redis takes them.",
    )
    alarm_deletes: Limit = Field(
        default=0,
        description="More names than this deleted within a minute raise an alarm: an error in the "
        "log and a metric. 0: never.",
    )
    redis_tls: RedisTls = RedisTls()
    wait_replicas: Limit = Field(
        default=0,
        description="How many replicas must have what was deleted (WAIT) before it counts as "
        "applied; fewer count as a Redis that is away. 0: none. A failover can then forget less, "
        "and every batch takes as long as replication does.",
    )
    rewind: Duration = Field(
        default=3600.0,
        description="How far back events are read again where a cache's Redis may have forgotten "
        "what was deleted: after a failover, or a restart from a snapshot. 0: nobody looks.",
    )
    kafka: Kafka = Kafka()
    pubsub: PubSub = PubSub()
    streams: Streams = Streams()
    batch: Batch = Batch()
    in_flight: InFlight = InFlight()
    dead_letters: DeadLetters = DeadLetters()
    log: Log = Log()
    admin: Admin = Admin()
    traces: Switch = Field(
        default=False,
        description="Whether each batch is a span of OpenTelemetry, linked to the traceparent of "
        "its events. Needs invalidator[otel]; where spans go is said by OpenTelemetry's own "
        "variables (OTEL_EXPORTER_OTLP_ENDPOINT).",
    )
    drain_timeout: Duration = Field(
        default=20.0,
        description="How long a shutdown may take to settle what was read. What is left then is "
        "read again by the next start. A second pass (repeat_after) that is due later is not "
        "waited for.",
    )
    env_file: OptionalPath = Field(
        default=None,
        description="A file of NAME=value lines with more settings, also given by --env-file. "
        "${OTHER} in it is replaced.",
    )
    secrets_dir: FilePath = Field(
        default=Path("/run/secrets/invalidator"),
        description="A directory of mounted secrets: one file per setting, named as the setting, "
        "with or without INVALIDATOR_, in upper or lower case.",
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        topic = self.dead_letters.topic
        if topic and not self.kafka.bootstrap_servers:
            raise ValueError(f"{SERVERS}: missing, because {DEAD_TOPIC} is on these brokers")
        if self.kafka.bootstrap_servers and not (self.kafka.topics or topic):
            raise ValueError(f"{TOPICS}: missing, because {SERVERS} names brokers to read from")
        if topic and any(names_topic(entry, topic) for entry in self.kafka.topics):
            raise ValueError(
                f"{DEAD_TOPIC}: {topic} is one of {TOPICS}: the daemon would read its own dead "
                "letters"
            )
        return self

    @property
    def has_sources(self) -> bool:
        pubsub = self.pubsub.channels or self.pubsub.sharded_channels
        return bool(self.kafka.topics or pubsub or self.streams.keys)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        prefixed = NestedSecretsSettingsSource(file_secret_settings)
        plain = NestedSecretsSettingsSource(file_secret_settings, secrets_prefix="")
        return init_settings, env_settings, dotenv_settings, prefixed, plain
