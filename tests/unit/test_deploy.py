"""What is shipped beside the code agrees with it."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from invalidator.settings import defaults, load

TOP = Path(__file__).parents[2]
APART = {"bench", "docs", "release"}  # groups with a lock of their own
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("INVALIDATOR_")]:
        monkeypatch.delenv(name)


def test_the_compose_file_sets_what_the_daemon_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load((TOP / "deploy" / "compose.yaml").read_text())["services"]
    for daemon, has_kafka in (("invalidator", True), ("alone", False)):
        with monkeypatch.context() as patch:
            for name, value in services[daemon]["environment"].items():
                patch.setenv(name, value)
            settings = load()
        assert bool(settings.kafka.bootstrap_servers) is has_kafka
        assert settings.has_sources
        assert settings.redis_url.get_secret_value() == "redis://redis:6379/0"


def test_the_image_knows_only_real_settings() -> None:
    written = set(re.findall(r"INVALIDATOR_[A-Z_]+", (TOP / "Dockerfile").read_text()))
    assert "INVALIDATOR_RULES" in written
    assert written <= {setting.name for setting in defaults()}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("runtime.txt", PROJECT["project"]["dependencies"]),
        *(
            (f"{extra}.txt", wanted)
            for extra, wanted in PROJECT["project"]["optional-dependencies"].items()
        ),
        ("build.txt", PROJECT["build-system"]["requires"]),
        *(
            (f"{name}.txt" if name in APART else "dev.txt", group)
            for name, group in PROJECT["dependency-groups"].items()
        ),
    ],
)
def test_the_lock_holds_what_the_project_wants(file: str, wanted: list[str]) -> None:
    held = locked(file)
    for requirement in map(Requirement, wanted):
        version = held.get(canonicalize_name(requirement.name))
        found = f"{file} holds {version} of {requirement}: make lock"
        assert version is not None, found
        assert requirement.specifier.contains(version), found


@pytest.mark.parametrize("file", [path.name for path in (TOP / "requirements").glob("*.txt")])
def test_all_lock_files_agree(file: str) -> None:
    everything = locked("dev.txt")
    shared = {name: version for name, version in locked(file).items() if name in everything}
    assert shared.items() <= everything.items()
    assert file.removesuffix(".txt") in APART or shared == locked(file)


def test_no_lock_file_says_where_packages_come_from() -> None:
    for path in (TOP / "requirements").iterdir():
        assert not re.search(r"://|^-|^\s*--(?!hash=)", path.read_text(), re.MULTILINE), path.name


def locked(file: str) -> dict[str, str]:
    text = (TOP / "requirements" / file).read_text()
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    }


COMPOSE = yaml.safe_load((TOP / "deploy" / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", COMPOSE)
def test_a_service_of_compose_names_what_there_is(name: str) -> None:
    service = COMPOSE[name]
    image = service["image"]
    assert ":" in image
    assert not image.endswith(":latest")
    assert set(service.get("depends_on", {})) <= set(COMPOSE)
    for mount in service.get("volumes", []):
        source, _, _ = mount.partition(":")
        if source.startswith("."):
            assert (TOP / "deploy" / source).is_file(), mount


@pytest.mark.parametrize("profiles", ["alone", "kafka", "kafka monitoring"])
def test_each_profile_has_what_its_services_need(profiles: str) -> None:
    started = {
        name: service
        for name, service in COMPOSE.items()
        if not service.get("profiles") or set(profiles.split()) & set(service["profiles"])
    }
    ports = [port for service in started.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports))
    assert "127.0.0.1:8080:8080" in ports
    for service in started.values():
        assert set(service.get("depends_on", {})) <= set(started)


def test_only_this_machine_can_call_what_compose_runs() -> None:
    published = [port for service in COMPOSE.values() for port in service.get("ports", [])]
    assert len(published) >= 5
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_grafana_finds_the_dashboard_and_its_data() -> None:
    folder = TOP / "deploy" / "monitoring"
    mounts = dict(mount.split(":")[:2] for mount in COMPOSE["grafana"]["volumes"])
    provider = yaml.safe_load((folder / "grafana" / "dashboards.yaml").read_text())["providers"][0]
    shown = mounts["./monitoring/grafana/invalidator.json"]
    assert shown.startswith(provider["options"]["path"] + "/")
    assert COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == shown
    source = yaml.safe_load((folder / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    scraped = yaml.safe_load((folder / "prometheus.yaml").read_text())["scrape_configs"][0]
    assert scraped["job_name"] == "invalidator"  # as the alerts have it
    assert scraped["static_configs"] == [{"targets": ["invalidator:8080"]}]
