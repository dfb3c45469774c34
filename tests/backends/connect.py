"""Kafka Connect with Debezium's connector for PostgreSQL: one JVM, standalone."""

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.backends.maven import fetch_jars, jars_of
from tests.backends.server import Server
from tests.backends.waiting import until_sync

POM = Path(__file__).with_name("connect.xml")
JVM = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
LOGGER = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
JSON = "org.apache.kafka.connect.json.JsonConverter"


class Connect(Server):
    """A worker that keeps its offsets in a file."""

    def __init__(self, bootstrap: str, port: int | None = None) -> None:
        super().__init__(port)
        self.bootstrap = bootstrap

    def command(self) -> list[str]:
        java = shutil.which("java") or "java"
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        return [java, *JVM, *LOGGER, "-cp", f"{jars_of(POM)}/*", main, str(self._properties)]

    def prepare(self) -> None:
        fetch_jars(POM)
        settings = {
            "bootstrap.servers": self.bootstrap,
            "listeners": f"http://{self.address}",
            "key.converter": JSON,
            "value.converter": JSON,
            "offset.storage.file.filename": str(self.directory / "offsets"),
            "offset.flush.interval.ms": "1000",
            "plugin.discovery": "service_load",
        }
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        self._properties.write_text(lines)

    def is_ready(self) -> bool:
        try:
            return isinstance(self._ask("GET", "/connectors"), list)
        except OSError:
            return False

    def create(self, name: str, config: Mapping[str, str]) -> None:
        """Start a connector, and wait until its task runs."""
        self._ask("POST", "/connectors", {"name": name, "config": dict(config)})
        until_sync(lambda: self._runs(name), what=f"the connector {name} runs")

    def delete(self, name: str) -> None:
        self._ask("DELETE", f"/connectors/{name}")

    def state(self, name: str) -> str:
        """Return the state of a connector's task, with its trace if it failed; empty at first."""
        try:
            tasks = self._ask("GET", f"/connectors/{name}/status")["tasks"]
        except urllib.error.HTTPError:
            return ""
        return f"{tasks[0]['state']} {tasks[0].get('trace', '')}" if tasks else ""

    def _runs(self, name: str) -> bool:
        state = self.state(name)
        assert not state.startswith("FAILED"), state
        return state.startswith("RUNNING")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if method != "GET":
                raise AssertionError(error.read().decode()) from error
            raise

    @property
    def _properties(self) -> Path:
        return self.directory / "worker.properties"


def versions() -> str:
    """Return what runs here, for people."""
    found = re.findall(r"<artifactId>(connect-runtime|debezium-connector-\w+)</artifactId>\s*"
                       r"<version>(.*?)</version>", POM.read_text())  # fmt: skip
    names = {"connect-runtime": "Kafka Connect", "debezium-connector-postgres": "Debezium"}
    return ", ".join(f"{names[name]} {version}" for name, version in found)
