"""PostgreSQL, Kafka Connect and Debezium, with the daemon behind them."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.backends import until_sync
from tests.backends.connect import JSON, Connect, versions
from tests.backends.kafka_client import Kafka, unique
from tests.backends.postgres import PostgresServer
from tests.e2e.process import DaemonProcess
from tests.real.scenarios import SCENARIOS, Scenario, Step, record

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.real

FIXTURES = Path(__file__).parents[1] / "fixtures" / "debezium"
MARKS = '\n  - {name: mark, on: "marks.*", invalidate: {keys: "mark:{n}"}}\n'


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def connect(kafka_bootstrap: str) -> Iterator[Connect]:
    with Connect(kafka_bootstrap) as worker:
        yield worker


class Stage:
    """One scenario on real servers."""

    def __init__(
        self,
        scenario: Scenario,
        postgres: PostgresServer,
        connect: Connect,
        kafka: Kafka,
        cache: Any,
    ) -> None:
        self.scenario = scenario
        self.postgres = postgres
        self.connect = connect
        self.kafka = kafka
        self.cache = cache
        self.name = unique(scenario.name).replace("-", "_")
        self.group = unique("group")
        self.marks = 0
        prefixes = [
            ("" if t.startswith("outbox.") else f"{self.name}.") + t for t in scenario.topics
        ]
        self.topics = [*prefixes, f"{self.name}.public.marks"]
        self._seen = dict.fromkeys(self.topics, 0)

    def _topic(self, name: str) -> str:
        return name if name.startswith("outbox.") else f"{self.name}.{name}"

    def rules(self) -> str:
        return self.scenario.rules_text().replace("USERS_TOPIC", self.topics[0])

    def open(self) -> None:
        """Create the tables and topics, and wait until the connector streams."""
        tables = self.scenario.tables.replace("PUBLICATION_NAME", self.name)
        schema = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
        self.postgres.sql(f"{schema} CREATE TABLE marks (n int PRIMARY KEY); {tables}")
        for topic in set(self.topics) - self.kafka.topics():
            self.kafka.create_topic(topic)
        self._seen = self.ends()
        self.connect.create(self.name, self.settings())
        active = f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self.name}'"
        until_sync(lambda: self.postgres.sql(active) == "t", what="the connector streams")

    def close(self) -> None:
        self.connect.delete(self.name)
        gone = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{self.name}'"
        until_sync(lambda: self.postgres.sql(gone) == "0", what="the slot is dropped")

    def settings(self) -> dict[str, str]:
        schemaless = {f"{part}.converter.schemas.enable": "false" for part in ("key", "value")}
        converters = {"key.converter": JSON, "value.converter": JSON, **schemaless}
        if self.scenario.settings.get("value.converter") == JSON:
            converters = {}
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": "127.0.0.1",
            "database.port": str(self.postgres.port),
            "database.user": "postgres",
            "database.dbname": "postgres",
            "plugin.name": "pgoutput",
            "topic.prefix": self.name,
            "slot.name": self.name,
            "slot.drop.on.stop": "true",
            "publication.name": self.name,
            "publication.autocreate.mode": "all_tables",
            "snapshot.mode": "no_data",
            **converters,
            **self.scenario.settings,
        }

    def ends(self) -> dict[str, int]:
        return {topic: sum(self.kafka.ends(topic).values()) for topic in self.topics}

    def play(self, step: Step, daemon: DaemonProcess) -> list[dict[str, Any]]:
        """Run the statements, wait until their events are settled, and return the records."""
        self.cache.mset(dict.fromkeys(self.names(), "stale"))
        self.marks += 1
        self.cache.set(f"mark:{self.marks}", "stale")
        for statement in step.sql.split(";\n"):
            self.postgres.sql(statement)
        self.postgres.sql(f"INSERT INTO marks VALUES ({self.marks})")
        until_sync(
            lambda: not self.cache.exists(f"mark:{self.marks}"),
            what=f"{step.sql}: {self.connect.state(self.name)} {daemon.log()[-2000:]}",
        )
        until_sync(lambda: not any(self.kafka.lag(self.group, topic) for topic in self.topics))
        return self.new_records()

    def names(self) -> set[str]:
        """Return every key that a step may delete, and some that none must."""
        found = {key for step in self.scenario.steps for key in step.keys}
        return found | {"user:3", "team:0", "team:99", "item:95", "price:0", "users:other"}

    def new_records(self) -> list[dict[str, Any]]:
        """Return what came since the last call, without marks."""
        before, self._seen = self._seen, self.ends()
        found = []
        for topic in self.topics[:-1]:
            count = self._seen[topic] - before[topic]
            with self.kafka.looking_at(unique("record")) as consumer:
                found += [
                    record(*_parts(each)) for each in _from(consumer, topic, before[topic], count)
                ]
        return found


def _from(consumer: Consumer, topic: str, offset: int, count: int) -> list[Any]:
    consumer.assign([TopicPartition(topic, 0, offset)])
    return consumer.consume(count, 60) if count else []


def _parts(message: Any) -> tuple[Any, ...]:
    return message.topic(), message.key(), message.value(), message.headers()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_the_daemon_deletes_exactly_what_changed(
    scenario: Scenario,
    postgres: PostgresServer,
    connect: Connect,
    kafka: Kafka,
    redis_url: str,
    redis_now: "redis.Redis",
    allow_keys: Any,
    tmp_path: Path,
) -> None:
    allow_keys("invalidator:dead")
    stage = Stage(scenario, postgres, connect, kafka, redis_now)
    stage.open()
    (tmp_path / "rules.yaml").write_text(stage.rules() + MARKS)
    settings = {
        "RULES": str(tmp_path / "rules.yaml"),
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__TOPICS": ",".join(stage.topics),
        "KAFKA__GROUP_ID": stage.group,
    }
    played, wrong = [], []
    with closing(DaemonProcess(settings)) as daemon:
        until_sync(lambda: kafka.committed(stage.group, stage.topics[-1]), what=daemon.log())
        for step in scenario.steps:
            records = stage.play(step, daemon)
            gone = {key for key in stage.names() if not redis_now.exists(key)}
            if gone != set(step.keys):
                wrong.append((step.sql, sorted(gone), sorted(step.keys), records))
            played.append({**_described(step), "records": records})
        stage.close()
    if os.environ.get("RECORD"):
        _save(stage, played)
    assert wrong == []


def _described(step: Step) -> dict[str, Any]:
    return {"sql": step.sql, "keys": sorted(step.keys), "rejected": sorted(step.rejected)}


def _save(stage: Stage, played: list[dict[str, Any]]) -> None:
    scenario = stage.scenario
    fixture = {
        "shows": scenario.shows,
        "source": f"PostgreSQL {stage.postgres.version}, {versions()}",
        "settings": dict(scenario.settings),
        "tables": scenario.tables,
        "rules": stage.rules(),
        "steps": played,
    }
    text = json.dumps(fixture, indent=1, ensure_ascii=False).replace(stage.name, "shop")
    FIXTURES.mkdir(exist_ok=True)
    (FIXTURES / f"{scenario.name}.json").write_text(text + "\n")
