"""A private Kafka broker: one JVM in KRaft mode, broker and controller in one."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.backends.maven import fetch_jars, jars_of
from tests.backends.server import Server, free_port

POM = Path(__file__).with_name("pom.xml")
CLUSTER_ID = "aW52YWxpZGF0b3ItdGVzdA"  # 22 characters, as Kafka wants them
JVM = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
LOGGER = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


class KafkaBroker(Server):
    """`config` adds to server.properties, or replaces lines of it."""

    jvm: Sequence[str] = JVM

    def __init__(self, port: int | None = None, config: Mapping[str, str] | None = None) -> None:
        super().__init__(port)
        self.controller_port = free_port()
        self.config = dict(config or {})

    @staticmethod
    def available() -> bool:
        return shutil.which("java") is not None and (
            jars_of(POM).exists() or shutil.which("mvn") is not None
        )

    @property
    def bootstrap(self) -> str:
        return self.address

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def prepare(self) -> None:
        fetch_jars(POM)
        self._properties.write_text(
            "".join(f"{name}={value}\n" for name, value in self._settings().items())
        )
        if not self._data.exists():
            self._format()

    def is_ready(self) -> bool:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=1.0).brokers)
        except KafkaException:
            return False

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _java(self) -> list[str]:
        return [shutil.which("java") or "java", *self.jvm, *LOGGER, "-cp", f"{jars_of(POM)}/*"]

    def _format(self) -> None:
        """Format the folder: Kafka stores nothing in one that was not formatted for its cluster."""
        tool = [*self._java(), "kafka.tools.StorageTool", "format"]
        run = subprocess.run(
            [*tool, "-t", CLUSTER_ID, "-c", str(self._properties), *self._format_options()],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise RuntimeError(f"Kafka cannot format its folder:\n{run.stdout}{run.stderr}")

    def _format_options(self) -> list[str]:
        return []

    def _settings(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://{self.address},"
            f"CONTROLLER://127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._data),
            # one node: no replicas, and none of the waiting that is for many
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            # a killed broker may register again once its last session is over
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "300",
            # short sessions, so that a killed member is missed soon
            "group.min.session.timeout.ms": "1000",
            # and compaction too soon rather than too late
            "log.cleaner.backoff.ms": "200",
            **self.config,
        }
