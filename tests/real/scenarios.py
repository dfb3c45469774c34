"""What is done to PostgreSQL, how Debezium is set up for it, and which keys must go.

Each statement of docs/debezium.md about PostgreSQL is one of these. `make test-real` runs them;
what Debezium wrote is recorded in tests/fixtures/debezium, and the quick tests plan that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

Settings = Mapping[str, str]

USERS = """
  - {name: user, on: "users.*", invalidate: {keys: "user:{id}"}}
  - {name: team, on: "users.*", invalidate: {keys: "team:{team_id}"}}
"""
UNWRAPPED = "envelope: {type: '{__table}.{__op}'}"


class Step(Struct, frozen=True):
    """Statements, and what must come of them."""

    sql: str
    keys: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()  # rules


class Scenario(Struct, frozen=True):
    """One connector, the rules for its events, and what is done to its tables."""

    name: str
    shows: str  # for people
    tables: str  # statements that create them; each table's name begins a topic's
    steps: Sequence[Step]
    rules: str = USERS
    envelope: str = ""
    settings: Settings = field(default_factory=dict)  # of the connector
    topics: Sequence[str] = ("public.users",)  # after the prefix

    def rules_text(self) -> str:
        return f"{self.envelope}\nrules:{self.rules}"


def users(more: str = "", table: str = "users") -> str:
    return f"""
CREATE TABLE {table} (id int PRIMARY KEY, team_id int NOT NULL, email text NOT NULL, name text);
{more}"""


def transform(name: str, kind: str, **settings: str) -> dict[str, str]:
    """Return the settings of one transform, for all topics but that of the marks."""
    return {
        "transforms": name,
        f"transforms.{name}.type": kind,
        f"transforms.{name}.predicate": "marks",
        f"transforms.{name}.negate": "true",
        **{f"transforms.{name}.{key}": value for key, value in settings.items()},
        "predicates": "marks",
        "predicates.marks.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        "predicates.marks.pattern": r".*\.marks",
    }


UNWRAP = "io.debezium.transforms.ExtractNewRecordState"
INSERT = "INSERT INTO users VALUES (1, 6, 'u1@x', 'n')"
FULL = "ALTER TABLE users REPLICA IDENTITY FULL;"
OUTBOX = """CREATE TABLE outbox (
  id uuid PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload jsonb)"""
ORDER = """INSERT INTO outbox
  VALUES (gen_random_uuid(), 'order', 'o1', 'order.updated', '{"orderId": "o1"}')"""
ROUTER = "io.debezium.transforms.outbox.EventRouter"
ORDERS = """
  - {name: order, on: ON, invalidate: {keys: "order:{orderId}"}}
"""
ARRAYS = """
CREATE TABLE docs (
  id int PRIMARY KEY, title text, body text, nums int[], uuids uuid[], tags text[]);
ALTER TABLE docs ALTER body SET STORAGE EXTERNAL, ALTER nums SET STORAGE EXTERNAL,
  ALTER uuids SET STORAGE EXTERNAL, ALTER tags SET STORAGE EXTERNAL;
"""
LARGE_ROW = """INSERT INTO docs SELECT 1, 'a', repeat('x', 3000), array_agg(n),
  array_agg(md5(n::text)::uuid), array_agg('tag' || n) FROM generate_series(1, 900) n"""
LARGE_LISTS = """INSERT INTO docs (id, title, nums, tags)
  SELECT 1, 'a', array_agg(n), array_agg('tag' || n) FROM generate_series(1, 600) n"""
EACH_ARRAY = """
  - {name: title, on: docs.updated, invalidate: {keys: "doc:{id}:{title}"}}
  - {name: body, on: docs.updated, invalidate: {keys: "body:{body|md5}"}}
  - {name: nums, on: docs.updated, invalidate: {keys: "num:{nums[]}"}}
  - {name: uuids, on: docs.updated, invalidate: {keys: "uuid:{uuids[]}"}}
  - {name: tags, on: docs.updated, invalidate: {keys: "tag:{tags[]}"}}
"""
PRICES = """
CREATE TABLE prices (
  id int PRIMARY KEY, price numeric(10,2), day date, at timestamp, zone timestamptz, bin bytea);
"""
PRICE = (
    "INSERT INTO prices VALUES (1, 4.00, '2026-01-02', '2026-01-02 03:04:05.6', "
    "'2026-01-02 03:04:05Z', '\\x0102')"
)
EACH_VALUE = """
  - name: each
    on: prices.*
    invalidate: {keys: ["price:{price}", "day:{day}", "at:{at}", "zone:{zone}", "bin:{bin}"]}
"""
EMPTY = "CREATE TABLE users (id int PRIMARY KEY, state text NOT NULL DEFAULT 'active');"
STATE = """
  - {name: user, on: "users.*", invalidate: {keys: "user:{id}"}}
  - {name: state, on: "users.*", invalidate: {keys: "state:{state}"}}
"""

SCENARIOS = [
    Scenario(
        "identity-default",
        "the default replica identity; a changed primary key; tombstones; skipped truncations",
        users(),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET name = 'm'", ("user:1",), ("team",)),
            Step("UPDATE users SET team_id = 7", ("user:1",), ("team",)),
            Step("UPDATE users SET id = 2", ("user:1", "user:2", "team:7"), ("team",)),
            Step("DELETE FROM users", ("user:2",), ("team",)),
            Step("TRUNCATE users"),
        ],
    ),
    Scenario(
        "identity-full",
        "REPLICA IDENTITY FULL; skipped.operations=none",
        users(FULL),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET team_id = 7", ("user:1", "team:6", "team:7")),
            Step("UPDATE users SET id = 2", ("user:1", "user:2", "team:7")),
            Step("DELETE FROM users", ("user:2", "team:7")),
            Step("TRUNCATE users", ("users",)),
        ],
        rules=USERS + '  - {name: all, on: users.truncated, invalidate: {keys: "users"}}',
        settings={"skipped.operations": "none", "tombstones.on.delete": "false"},
    ),
    Scenario(
        "identity-full-empty-row",
        "old_rows: full, where rows may really be empty",
        users(FULL),
        [
            Step("INSERT INTO users VALUES (1, 0, '', NULL)", ("user:1", "team:0")),
            Step("DELETE FROM users", ("user:1", "team:0")),
        ],
        envelope="envelope: {old_rows: full}",
    ),
    Scenario(
        "identity-index",
        "REPLICA IDENTITY USING INDEX: only the index's columns are known of an old row",
        users(
            "CREATE UNIQUE INDEX by_email ON users (email);"
            "ALTER TABLE users REPLICA IDENTITY USING INDEX by_email;"
        ),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step(
                "UPDATE users SET email = 'u2@x'",
                ("mail:u1@x", "user:1", "team:6"),
                ("team", "user"),
            ),
            Step("UPDATE users SET team_id = 7", ("user:1",), ("team", "mail")),
            Step("UPDATE users SET id = 2", ("user:2",), ("team", "mail")),  # user:1 is not known
            Step("DELETE FROM users", ("mail:u2@x",), ("team", "user")),
        ],
        rules=USERS
        + '  - {name: mail, on: ["users.updated", "users.deleted"], invalidate: '
        + '{keys: "mail:{email}"}}',
    ),
    Scenario(
        "no-primary-key",
        "a table without a primary key, whose identity is an index",
        users(
            "CREATE UNIQUE INDEX by_email ON users (email);"
            "ALTER TABLE users REPLICA IDENTITY USING INDEX by_email;"
        ).replace(" PRIMARY KEY", " NOT NULL"),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET email = 'u2@x'", ("user:1", "team:6"), ("team", "user")),
            Step("UPDATE users SET team_id = 7", (), ("team", "user")),
            Step("DELETE FROM users", (), ("team", "user")),
        ],
    ),
    Scenario(
        "no-primary-key-full",
        "a table without a primary key and with REPLICA IDENTITY FULL",
        users(FULL).replace(" PRIMARY KEY", " NOT NULL"),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET team_id = 7", ("user:1", "team:6", "team:7")),
            Step("DELETE FROM users", ("user:1", "team:7")),
        ],
    ),
    Scenario(
        "message-key-columns",
        "a key by message.key.columns is of the new row",
        users(),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET team_id = 99", (), ("user", "team")),
        ],
        settings={"message.key.columns": "public.users:team_id"},
    ),
    Scenario(
        "key-of-another-name",
        "a primary key that is not called id, with old_rows: key",
        "CREATE TABLE users (user_no int PRIMARY KEY, team_id int NOT NULL);",
        [
            Step("INSERT INTO users VALUES (1, 6)", ("user:1", "team:6")),
            Step("UPDATE users SET team_id = 7", ("user:1",), ("team",)),
            Step("DELETE FROM users", ("user:1",), ("team",)),
        ],
        rules=USERS.replace("{id}", "{user_no}"),
        envelope="envelope: {old_rows: key}",
    ),
    Scenario(
        "schemas",
        "schemas.enable=true: defaults of columns are known by the schema",
        EMPTY,
        [
            Step("INSERT INTO users VALUES (1, 'gone')", ("user:1", "state:gone")),
            Step("DELETE FROM users", ("user:1",), ("state",)),
        ],
        rules=STATE,
        settings={
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        },
    ),
    Scenario(
        "no-schemas-old-rows-key",
        "without schemas, old_rows: key keeps defaults of columns out",
        EMPTY,
        [
            Step("INSERT INTO users VALUES (1, 'gone')", ("user:1", "state:gone")),
            Step("DELETE FROM users", ("user:1",), ("state",)),
        ],
        rules=STATE,
        envelope="envelope: {old_rows: key}",
    ),
    Scenario(
        "large-columns",
        "unchanged large columns of every type, with the default replica identity",
        ARRAYS,
        [
            Step(LARGE_ROW),
            Step("UPDATE docs SET title = 'b'", (), ("title", "body", "nums", "uuids", "tags")),
        ],
        rules=EACH_ARRAY,
        settings={"unavailable.value.placeholder": "__debezium_unavailable_value"},
        topics=("public.docs",),
    ),
    Scenario(
        "large-columns-full",
        "unchanged large columns with REPLICA IDENTITY FULL: the old row has them",
        ARRAYS + "ALTER TABLE docs REPLICA IDENTITY FULL;",
        [
            Step(LARGE_LISTS),
            Step("UPDATE docs SET title = 'b'", ("doc:1:a", "doc:1:b", "num:7", "tag:tag9")),
        ],
        rules="""
  - {name: title, on: docs.updated, invalidate: {keys: "doc:{id}:{title}"}}
  - {name: lists, on: docs.updated, invalidate: {keys: ["num:{nums[6]}", "tag:{tags[8]}"]}}
""",
        topics=("public.docs",),
    ),
    Scenario(
        "values-default",
        "numbers as base64, dates as days, times as microseconds",
        PRICES,
        [
            Step(
                PRICE,
                (
                    "price:AZA=",
                    "day:20455",
                    "at:1767323045600000",
                    "zone:2026-01-02T03:04:05.000000Z",
                    "bin:AQI=",
                ),
            )
        ],
        rules=EACH_VALUE,
        topics=("public.prices",),
    ),
    Scenario(
        "values-readable",
        "decimal.handling.mode, time.precision.mode, binary.handling.mode",
        PRICES,
        [
            Step(
                PRICE,
                (
                    "price:4.00",
                    "day:2026-01-02Z",
                    "at:2026-01-02T03:04:05.6Z",
                    "zone:2026-01-02T03:04:05.000000Z",
                    "bin:0102",
                ),
            )
        ],
        rules=EACH_VALUE,
        settings={
            "decimal.handling.mode": "string",
            "time.precision.mode": "isostring",
            "binary.handling.mode": "hex",
        },
        topics=("public.prices",),
    ),
    Scenario(
        "values-connect",
        "time.precision.mode=connect: milliseconds",
        PRICES,
        [
            Step(
                PRICE,
                (
                    "price:4.00",
                    "day:20455",
                    "at:1767323045600",
                    "zone:2026-01-02T03:04:05.000000Z",
                    "bin:AQI=",
                ),
            )
        ],
        rules=EACH_VALUE,
        settings={"decimal.handling.mode": "string", "time.precision.mode": "connect"},
        topics=("public.prices",),
    ),
    Scenario(
        "unwrapped",
        "ExtractNewRecordState by default: a deleted row comes as null",
        users(),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET team_id = 7", ("user:1", "team:7")),
            Step("DELETE FROM users", ("user:1",), ("team",)),
        ],
        rules=USERS.replace('"users.*"', "[USERS_TOPIC]"),
        settings=transform("unwrap", UNWRAP),
    ),
    Scenario(
        "unwrapped-schemas",
        "ExtractNewRecordState by default, with schemas",
        users(),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("DELETE FROM users", ("user:1",), ("team",)),
        ],
        rules=USERS.replace('"users.*"', "[USERS_TOPIC]"),
        settings={
            **transform("unwrap", UNWRAP),
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        },
    ),
    Scenario(
        "unwrapped-rewrite",
        "delete.tombstone.handling.mode=rewrite, add.fields=op,table",
        users(FULL),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("DELETE FROM users", ("user:1", "team:6")),
        ],
        envelope=UNWRAPPED,
        settings=transform(
            "unwrap",
            UNWRAP,
            **{"delete.tombstone.handling.mode": "rewrite", "add.fields": "op,table"},
        ),
    ),
    Scenario(
        "unwrapped-rewrite-identity-default",
        "a deleted row of the default replica identity is not trusted when it is unwrapped",
        users(),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("DELETE FROM users", ("user:1",), ("team",)),
        ],
        envelope=UNWRAPPED,
        settings=transform(
            "unwrap",
            UNWRAP,
            **{"delete.tombstone.handling.mode": "rewrite", "add.fields": "op,table"},
        ),
    ),
    Scenario(
        "outbox",
        "EventRouter by default: the type is the topic, the value JSON in a text",
        OUTBOX,
        [Step(ORDER, ("order:o1",))],
        rules=ORDERS.replace("ON", "outbox.event.order"),
        settings=transform("outbox", ROUTER),
        topics=("outbox.event.order",),
    ),
    Scenario(
        "outbox-type",
        "table.fields.additional.placement=type:header:eventType",
        OUTBOX,
        [Step(ORDER, ("order:o1",))],
        rules=ORDERS.replace("ON", "order.updated"),
        envelope="envelope: {sources: {'outbox.event.*': {type: headers.eventType}}}",
        settings=transform(
            "outbox",
            ROUTER,
            **{"table.fields.additional.placement": "type:header:eventType"},
        ),
        topics=("outbox.event.order",),
    ),
    Scenario(
        "about-no-row",
        "logical messages and transactions",
        users(),
        [
            Step("SELECT pg_logical_emit_message(true, 'p', 'hi')"),
            Step(INSERT, ("user:1", "team:6")),
        ],
        settings={"provide.transaction.metadata": "true"},
        topics=("public.users", "message", "transaction"),
    ),
    Scenario(
        "partitions",
        "a partitioned table's events carry the names of its partitions",
        users().replace("PRIMARY KEY", "").replace(";", "PARTITION BY RANGE (id);", 1)
        + "CREATE TABLE users_2026 PARTITION OF users FOR VALUES FROM (1) TO (9);",
        [Step(INSERT, ("user:1",))],
        rules='\n  - {name: user, on: "users_2026.*", invalidate: {keys: "user:{id}"}}\n',
        topics=("public.users_2026",),
    ),
    Scenario(
        "partitions-root",
        "publish_via_partition_root: events carry the name of the table",
        users().replace("PRIMARY KEY", "").replace(";", "PARTITION BY RANGE (id);", 1)
        + "CREATE TABLE users_2026 PARTITION OF users FOR VALUES FROM (1) TO (9);"
        + "CREATE PUBLICATION PUBLICATION_NAME FOR TABLE users, marks "
        + "WITH (publish_via_partition_root = true);",
        [Step(INSERT, ("user:1", "team:6"))],
    ),
    Scenario(
        "cascades",
        "rows that a foreign key deletes are events in PostgreSQL",
        "CREATE TABLE teams (id int PRIMARY KEY);"
        "CREATE TABLE users (id int PRIMARY KEY, team_id int REFERENCES teams ON DELETE CASCADE);"
        "INSERT INTO teams VALUES (6);",
        [
            Step("INSERT INTO users VALUES (1, 6)", ("user:1",)),
            Step("DELETE FROM teams", ("user:1",)),
        ],
        rules='\n  - {name: user, on: "users.*", invalidate: {keys: "user:{id}"}}\n',
        topics=("public.users", "public.teams"),
    ),
    Scenario(
        "cloudevents",
        "Debezium's converter for CloudEvents",
        users(FULL),
        [
            Step(INSERT, ("user:1", "team:6")),
            Step("UPDATE users SET team_id = 7", ("user:1", "team:6", "team:7")),
            Step("DELETE FROM users", ("user:1", "team:7")),
        ],
        settings={
            "value.converter": "io.debezium.converters.CloudEventsConverter",
            "value.converter.json.schemas.enable": "false",
        },
    ),
]


def record(topic: str, key: bytes | None, value: bytes | None, headers: Any) -> dict[str, Any]:
    """Return a record as fixtures have it."""
    return {
        "topic": topic,
        "key": None if key is None else key.decode(),
        "value": None if value is None else value.decode(),
        "headers": {name: (content or b"").decode() for name, content in headers or ()},
    }
