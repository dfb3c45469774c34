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
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("INVALIDATOR_")]:
        monkeypatch.delenv(name)


def test_the_compose_file_sets_what_the_daemon_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load((TOP / "deploy" / "compose.yaml").read_text())["services"]
    for name, value in services["invalidator"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.kafka.bootstrap_servers
    assert settings.redis_url.get_secret_value() == "redis://redis:6379/0"


def test_the_image_knows_only_real_settings() -> None:
    written = set(re.findall(r"INVALIDATOR_[A-Z_]+", (TOP / "Dockerfile").read_text()))
    assert "INVALIDATOR_RULES" in written
    assert written <= {setting.name for setting in defaults()}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("runtime.txt", PROJECT["project"]["dependencies"]),
        ("embedded.txt", PROJECT["project"]["optional-dependencies"]["embedded"]),
        ("build.txt", PROJECT["build-system"]["requires"]),
        *(
            ("bench.txt" if name == "bench" else "dev.txt", group)
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


@pytest.mark.parametrize("file", ["runtime.txt", "embedded.txt", "build.txt", "bench.txt"])
def test_all_lock_files_agree(file: str) -> None:
    everything = locked("dev.txt")
    shared = {name: version for name, version in locked(file).items() if name in everything}
    assert shared.items() <= everything.items()
    assert file == "bench.txt" or shared == locked(file)


def test_no_lock_file_says_where_packages_come_from() -> None:
    for path in (TOP / "requirements").iterdir():
        assert not re.search(r"://|^-|^\s*--(?!hash=)", path.read_text(), re.MULTILINE), path.name


def locked(file: str) -> dict[str, str]:
    text = (TOP / "requirements" / file).read_text()
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    }
