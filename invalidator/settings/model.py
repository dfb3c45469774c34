"""Every setting with its name, meaning and default."""

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
    Delays,
    Duration,
    EdgeSecret,
    EdgeUrls,
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
    Rate,
    RedisUrl,
    RegistryFormat,
    RegistryUrl,
    Route,
    Secret,
    Servers,
    SessionTimeout,
    Share,
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


class Edge(Group):
    urls: dict[str, EdgeUrls] = Field(
        default={},
        description="Where the cache NAME is, if the rules give it a target at the edge: for "
        "varnish all its servers, separated by commas (http://10.0.0.1:6081,http://10.0.0.2:6081); "
        "for fastly https://api.fastly.com/service/ID; for cloudflare "
        "https://api.cloudflare.com/client/v4/zones/ID; for http a URL of your own. docs/edge.md.",
    )
    secrets: dict[str, EdgeSecret] = Field(
        default={},
        description="The secret of the cache NAME: the API token (fastly, cloudflare), the key "
        "that signs requests (http), or a bearer token that your VCL checks (varnish).",
    )
    timeout: PositiveDuration = Field(
        default=5.0,
        description="How long a request to the edge may take before its server is unavailable.",
    )
    rate: Rate = Field(
        default=0.0,
        description="How many requests each cache at the edge may be sent, such as 10/s or 5/min. "
        "Empty: 5/s for cloudflare, no limit for others.",
    )
    burst: Limit = Field(
        default=0,
        description="How many of them may come together after a quiet time (the size of the token "
        "bucket). 0: 25 for cloudflare, 1 for others.",
    )


class Registry(Group):
    url: RegistryUrl = Field(
        default=SecretStr(""),
        description="The schema registry, for events in Avro, with a login if it requires one "
        "(https://KEY:SECRET@registry.example.com). Requires invalidator[avro]. Empty: events are "
        "JSON.",
    )
    format: RegistryFormat = Field(
        default="confluent",
        description="How the registry's clients frame records, and its API: confluent (a schema id "
        "of 4 bytes; also Apicurio's /apis/ccompat/v7) or apicurio (a global id of 8 bytes, in "
        "front of the value or in a header; the URL ends in /apis/registry/v2).",
    )


class Kafka(Group):
    bootstrap_servers: Servers = Field(
        default=(), description="Kafka brokers to ask first, as host:port. Empty: no Kafka."
    )
    topics: Topics = Field(
        default=(),
        description="Topics to read events from: names, or patterns, which are regular "
        "expressions that begin with ^ (^orders\\..*). New topics that match are found within 30s "
        "and read from their beginning.",
    )
    group_id: Text = Field(
        default="invalidator",
        description="The consumer group. All replicas of a deployment share it and divide the "
        "partitions between them.",
    )
    start: Start = Field(
        default="latest",
        description="Where a group without a position starts: latest, earliest, or how far back "
        "(-1h). A group with a position continues from there.",
    )
    session_timeout: SessionTimeout = Field(
        default=30.0,
        description="How long a member may be silent before others get its partitions: from 1s to "
        "45s, and within the brokers' own limits.",
    )
    instance_id: OptionalText = Field(
        default="",
        description="Makes this replica a static member of the group: a restart within "
        "SESSION_TIMEOUT moves no partitions. Every replica needs its own.",
    )
    tls: Tls = Tls()
    sasl: Sasl = Sasl()
    registry: Registry = Registry()

    @model_validator(mode="after")
    def _complete(self) -> "Kafka":
        check_unread(self.tls, self.sasl)
        if self.topics and not self.bootstrap_servers:
            raise ValueError(f"{SERVERS}: missing, but required by {TOPICS}")
        return self


class PubSub(Group):
    channels: Names = Field(
        default=(),
        description="Redis pub/sub channels to listen on, names or globs (orders.*). Redis keeps "
        "nothing for an absent reader, so messages published during a restart are lost.",
    )
    sharded_channels: Names = Field(
        default=(),
        description="Sharded channels (SPUBLISH) to listen on, by name: on a cluster each one is "
        "sent only to the nodes of its slot. Requires Redis 7.",
    )
    buffer: Count = Field(
        default=100_000,
        description="How many received messages may wait in memory, with at most "
        "INVALIDATOR_IN_FLIGHT__BYTES of data. Further messages are dropped and counted.",
    )


class Streams(Group):
    keys: Names = Field(default=(), description="Redis Streams to read events from, by key.")
    group: Text = Field(
        default="invalidator",
        description="The consumer group. All replicas of a deployment share it and divide the "
        "entries between them.",
    )
    consumer: OptionalText = Field(
        default="",
        description="This replica's name in the group. Empty: the host name. With the same name, a "
        "restarted replica continues immediately with its pending entries.",
    )
    start: Start = Field(
        default="latest",
        description="Where a new group starts: latest, earliest, or how far back (-1h). The group "
        "is created immediately.",
    )
    claim_after: PositiveDuration = Field(
        default=60.0,
        description="How long a consumer may be silent before others take over its pending "
        "entries.",
    )
    trim: Switch = Field(
        default=False,
        description="Whether to delete entries that every group of the stream has settled. "
        "Otherwise the stream grows until its publishers trim it.",
    )


class Http(Group):
    routes: dict[str, Route] = Field(
        default={},
        description="Accept events by POST at /NAME, as SCHEME:SECRET: `token` (sent as "
        "`Authorization: Bearer`), or the signature of `github`, `shopify`, `stripe`, or "
        "`standard` webhooks. Without routes no port is opened. docs/http.md.",
    )
    host: Text = Field(default="127.0.0.1", description="Address of the port for events.")
    port: Port = Field(
        default=8081, description="The port for events. 0 picks a free one and logs it."
    )
    wait: Duration = Field(
        default=10.0,
        description="How long a request waits until its event is applied. Then it is answered with "
        "202 and a receipt to ask for.",
    )
    buffer: Count = Field(
        default=1000,
        description="How many requests of a route may wait in memory, with at most "
        "INVALIDATOR_IN_FLIGHT__BYTES of data. Further ones are answered with 503.",
    )
    max_bytes: Size = Field(default=1 << 20, description="The largest body of a request.")


class Batch(Group):
    max_events: Count = Field(
        default=20_000, description="How many events are applied together at most."
    )
    max_wait: Duration = Field(
        default=0.0,
        description="How long the first event of a batch may wait for more. 0: a batch is what "
        "has arrived.",
    )
    max_event_bytes: Size = Field(
        default=1 << 20, description="A larger event becomes a dead letter without being parsed."
    )


class InFlight(Group):
    events: Count = Field(
        default=60_000,
        description="How many events may be in memory: read and not yet applied, or rejected and "
        "not yet stored as dead letters. At the limit, reading stops.",
    )
    bytes: Size = Field(
        default=64 << 20,
        description="How many bytes may be in memory: events, and names that wait for their second "
        "pass (repeat_after). At the limit, reading stops.",
    )


class DeadLetters(Group):
    max_length: Limit = Field(
        default=100_000,
        description="How many dead letters are kept. Beyond it the oldest are removed, which is "
        "logged and counted. A warning is logged from 80%. 0: no limit.",
    )
    max_bytes: Size = Field(
        default=64 << 20,
        description="How much memory of Redis they may take; on a server with a limit, at most a "
        "tenth of it. Beyond it the oldest are removed, which is logged and counted. A warning is "
        "logged from 80%.",
    )
    max_age: Duration = Field(
        default=30 * 86400.0,
        description="How long a dead letter is kept. Then it is removed, which is logged and "
        "counted. A warning is logged from 80%. 0: for ever.",
    )
    topic: OptionalTopic = Field(
        default="",
        description="A Kafka topic for dead letters instead of the stream, on the brokers in "
        "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS. It must exist, and has its own retention. "
        "`invalidator dead` works only on the stream.",
    )
    redact: FieldPaths = Field(
        default=(),
        description="What must not be stored: paths in the event as received (data.email, "
        "items.*.card, **.password), key, and headers.NAME. These values are masked in dead "
        "letters. The bytes of an event that is not JSON are then not stored at all.",
    )


class Freshness(Group):
    sample: Share = Field(
        default=0.01,
        description="The share of events whose effect is checked where a rule has verify:, from "
        "0 to 1. docs/freshness.md.",
    )
    per_second: Count = Field(
        default=100, description="How many events a second are sampled at most."
    )
    delays: Delays = Field(
        default=(1.0, 60.0, 300.0),
        description="How long after an event was applied what it named is read, such as 1s,60s,5m.",
    )
    findings: Count = Field(
        default=100, description="How many stale entries are remembered; the newest stay."
    )
    postgres: Secret = Field(
        default=SecretStr(""),
        description="The PostgreSQL that rules with verify: sql: ask, as postgresql://user@host/"
        "database. Requires invalidator[postgres]. A user who may only SELECT is enough.",
    )
    url_token: Secret = Field(
        default=SecretStr(""),
        description="Sent as `Authorization: Bearer` to the URLs that rules with verify: url: ask.",
    )


class Log(Group):
    format: LogFormat = Field(
        default="auto",
        description="json (one object per line), console (for people), or auto: console on a "
        "terminal, otherwise json.",
    )
    level: LogLevel = Field(
        default="info",
        description="debug, info, warning or error. Only debug shows keys and single events.",
    )


class Admin(Group):
    host: Text = Field(
        default="127.0.0.1",
        description="Address of the admin port, which serves health, metrics, status and a page.",
    )
    port: Port = Field(default=8080, description="The admin port. 0 picks a free one and logs it.")
    token: Token = Field(
        default=SecretStr(""),
        description="Token for calls that change something (reload, pause, resume), sent as "
        "`Authorization: Bearer`: 16 characters or more. Empty: these calls are off.",
    )
    hosts: Names = Field(
        default=(),
        description="Host names under which browsers and tools reach the admin port, in addition "
        "to IP addresses, localhost, HOST and names without a dot. Requests with other names are "
        "rejected, since a foreign web page could send them, except by the probes and /metrics.",
    )


class Settings(BaseSettings):
    """All settings of a process, validated. Created by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,  # lists are written with commas, not as JSON
        extra="ignore",  # an env file may have names of other programs; `load` reports wrong ones
        frozen=True,
        hide_input_in_errors=True,
        secrets_dir_missing="ok",
    )

    rules: FilePath = Field(
        default=Path("rules.yaml"), description="The rules: a file, or a directory of files."
    )
    rules_last_good: OptionalPath = Field(
        default=None,
        description="Where to keep a copy of the last valid rules, and to start from if the rules "
        "are broken.",
    )
    dry_run: Switch = Field(
        default=False,
        description="Read and plan, but write nothing: no deletion, no dead letter, no position. "
        "The Kafka group is then GROUP_ID-dry-run, so that it takes no partitions from a daemon, "
        "and streams are read without a group.",
    )
    redis_url: RedisUrl = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="The Redis that holds the cache: redis://, unix://, "
        "redis+sentinel://host:port,host:port/service/db or redis+cluster://host:port,host:port; "
        "with TLS as rediss://, rediss+sentinel:// and rediss+cluster://. docs/topologies.md.",
    )
    caches: dict[str, RedisUrl] = Field(
        default_factory=dict,
        description="The Redis of the cache that the rules call NAME, if it is not "
        "INVALIDATOR_REDIS_URL. A batch is settled when all its caches have applied it, so an "
        "unavailable one blocks all: for isolation, run one daemon per Redis. In NAME, `_` stands "
        "for any character that is not a letter or digit.",
    )
    source_redis_url: RedisUrl = Field(
        default_factory=lambda known: known["redis_url"],
        description="The Redis with the channels and streams, if it is not the cache's.",
    )
    state_url: RedisUrl = Field(
        default_factory=lambda known: known["redis_url"],
        description="The Redis that stores dead letters, if it is not the cache's; ideally one "
        "that never evicts.",
    )
    redis_timeout: PositiveDuration = Field(
        default=2.0,
        description="How long to wait for a reply from Redis before treating it as unavailable.",
    )
    announce: Announce = Field(
        default="listened",
        description="Whether to announce what was applied, on the channel invalidator:applied of "
        "the cache's Redis: while someone listens there (listened), always (for listeners on "
        "replicas, which Redis does not count) or never.",
    )
    max_deletes_per_second: Limit = Field(
        default=0,
        description="How many names may be deleted per second, over all caches; the rest waits. "
        "0: no limit.",
    )
    alarm_deletes: Limit = Field(
        default=0,
        description="Raise an alarm (an error in the log and a metric) if more names than this are "
        "deleted within a minute. 0: never.",
    )
    edge: Edge = Edge()
    redis_tls: RedisTls = RedisTls()
    rewind: Duration = Field(
        default=300.0,
        description="How many seconds of deletions a cache's Redis may lose in a failover or a "
        "restart: events settled within that time are read again. Choose at least the time between "
        "snapshots if a restart loads one. 0: failovers are not detected.",
    )
    kafka: Kafka = Kafka()
    pubsub: PubSub = PubSub()
    streams: Streams = Streams()
    batch: Batch = Batch()
    in_flight: InFlight = InFlight()
    dead_letters: DeadLetters = DeadLetters()
    freshness: Freshness = Freshness()
    log: Log = Log()
    admin: Admin = Admin()
    http: Http = Http()
    traces: Switch = Field(
        default=False,
        description="Whether to record each batch as an OpenTelemetry span, linked to the "
        "traceparent of its events. Requires invalidator[otel]; OpenTelemetry's own variables say "
        "where spans are sent (OTEL_EXPORTER_OTLP_ENDPOINT).",
    )
    drain_timeout: Duration = Field(
        default=20.0,
        description="How long a shutdown may take to settle what was read. The rest is read again "
        "after the next start. A second pass (repeat_after) that is due later is not awaited.",
    )
    env_file: OptionalPath = Field(
        default=None,
        description="A file of NAME=value lines with more settings, also set by --env-file. "
        "${OTHER} in it is expanded.",
    )
    secrets_dir: FilePath = Field(
        default=Path("/run/secrets/invalidator"),
        description="A directory of mounted secrets: one file per setting, named after it, with "
        "or without INVALIDATOR_, in upper or lower case.",
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _hidden: dict[str, str] = PrivateAttr(default_factory=dict)  # secret files without effect

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        topic = self.dead_letters.topic
        if topic and not self.kafka.bootstrap_servers:
            raise ValueError(f"{SERVERS}: missing, but required by {DEAD_TOPIC}")
        if self.kafka.bootstrap_servers and not (self.kafka.topics or topic):
            raise ValueError(f"{TOPICS}: missing, but required by {SERVERS}")
        if topic and any(names_topic(entry, topic) for entry in self.kafka.topics):
            raise ValueError(
                f"{DEAD_TOPIC}: {topic} is also in {TOPICS}: the daemon would read its own dead "
                "letters"
            )
        return self

    @property
    def has_sources(self) -> bool:
        pubsub = self.pubsub.channels or self.pubsub.sharded_channels
        return bool(self.kafka.topics or pubsub or self.streams.keys or self.http.routes)

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
