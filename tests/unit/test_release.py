"""What is released agrees with itself: one version, one address, the same Pythons everywhere."""

import importlib.util
import re
import subprocess
import tomllib
from types import ModuleType

import pytest
import yaml

from invalidator import __version__
from invalidator.cli import main
from tests.pages import TOP, Page

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
SOURCE = PROJECT["urls"]["Source"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
SHIPPED = [
    *(TOP / name for name in ("Dockerfile", "README.md", "pyproject.toml", "SECURITY.md")),
    *(path for folder in ("deploy", "docs", ".github") for path in (TOP / folder).rglob("*.*")),
]


def texts() -> dict[str, str]:
    kept = (".md", ".yaml", ".yml", ".json", ".toml", "")
    return {
        path.relative_to(TOP).as_posix(): path.read_text()
        for path in SHIPPED
        if path.is_file() and path.suffix in kept
    }


@pytest.fixture(scope="module")
def links() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "absolute_links", TOP / "scripts/absolute_links.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_in_one_place_and_examples_have_it() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    for name, text in texts().items():
        found = re.findall(r"platform/invalidator:(\d[\w.]*)|newTag: (\S+)|rev: v(\S+)", text)
        assert {each for hit in found for each in hit if each} <= {__version__}, name


def test_the_changelog_begins_with_this_version_or_with_what_is_to_come() -> None:
    heads = re.findall(
        r"^## \[(.+?)\]( - \d{4}-\d\d-\d\d)?$", (TOP / "CHANGELOG.md").read_text(), re.M
    )
    newest, date = heads[0]
    assert newest == "Unreleased" or (newest == __version__ and date)


def test_the_project_has_one_address() -> None:
    for name, text in texts().items():
        for found in re.findall(r"https://git\.example\.com[\w./-]*", text):
            assert found.startswith(SOURCE), name


def test_links_of_the_readme_are_absolute_on_a_package_index(links: ModuleType) -> None:
    text = links.absolute((TOP / "README.md").read_text(), SOURCE, __version__)
    found = re.findall(r"\]\(([^)]+)\)", text)
    assert len(found) > 20
    for link in found:
        assert link.startswith(("https://", "#")), link
        path = re.sub(rf"^{re.escape(SOURCE)}/(blob|raw)/v{re.escape(__version__)}/", "", link)
        assert path == link or (TOP / path.partition("#")[0]).exists(), link
    assert f"]({SOURCE}/raw/v{__version__}/docs/images/flow.svg)" in text


def test_every_place_names_the_same_pythons() -> None:
    classified = [
        each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each
    ]
    assert classified == PYTHONS
    workflow = yaml.safe_load((TOP / ".github" / "workflows" / "ci.yaml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    script = (TOP / "scripts" / "python.sh").read_text()
    assert set(re.findall(r"python(3\.\d+) ", script)) == set(PYTHONS)
    assert "(3, 11) <= v <= (3, 14)" in script


def test_a_python_that_cannot_be_used_is_named() -> None:
    done = subprocess.run(
        [TOP / "scripts" / "python.sh"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/no/such/python"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "make needs Python 3.11, 3.12, 3.13 or 3.14" in done.stderr


def test_the_hooks_for_other_repositories_are_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    hooks = yaml.safe_load((TOP / ".pre-commit-hooks.yaml").read_text())
    page = Page(TOP / "docs" / "operations.md")
    (config,) = (block.text for block in page.blocks if ".pre-commit-config.yaml" in block.text)
    used = {hook["id"]: hook["args"] for hook in yaml.safe_load(config)["repos"][0]["hooks"]}
    assert used.keys() == {hook["id"] for hook in hooks}
    for hook in hooks:
        program, *verb = hook["entry"].split()
        options = [
            str(TOP / "rules.yaml") if word == "rules" else word for word in used[hook["id"]]
        ]
        assert program == "invalidator"
        assert main([*verb, *options]) == 0
    assert "rules.yaml" in capsys.readouterr().out
