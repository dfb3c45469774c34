"""The Helm chart: rendered where there is a helm, and otherwise checked against its own schema."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from invalidator import __version__

TOP = Path(__file__).parents[2]
CHART = TOP / "deploy" / "helm" / "invalidator"
BASE = TOP / "deploy" / "kubernetes" / "base"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
VERSIONS = ["1.29", "1.33"]
FOREIGN = {"monitoring.coreos.com/v1"}

Manifest = dict[str, Any]

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def helm() -> str:
    found = shutil.which("helm") or shutil.which("helm", path=TOP / ".cache" / "bin")
    if found is None:
        pytest.skip("there is no helm: `make helm` builds one, where there is a Go")
    return found


def rendered(helm: str, *options: str) -> "subprocess.CompletedProcess[str]":
    words = [helm, "template", "shop", str(CHART), "--namespace", "shop"]
    return subprocess.run(
        [*words, "--kube-version", f"{VERSIONS[-1]}.0", *options], capture_output=True, text=True
    )


def manifests(helm: str, example: Path) -> list[Manifest]:
    done = rendered(helm, "--values", str(example))
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(kind: str, found: list[Manifest]) -> Manifest:
    return next(each for each in found if each["kind"] == kind)


# --- without helm ---


def test_the_chart_has_the_version_of_the_daemon() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@each_example
def test_the_schema_accepts_the_defaults_and_each_example(example: Path) -> None:
    jsonschema.validate(VALUES, SCHEMA)
    jsonschema.validate(yaml.safe_load(example.read_text()), SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 3},
        {"image": {"digest": "latest"}},
        {"settings": {"REDIS_URL": "redis://:secret@cache"}},
        {"settings": {"KAFKA__SASL__PASSWORD": "secret"}},
        {"settings": {"INVALIDATOR_ANNOUNCE": "never"}},
        {"rules": {"files": {"rules.txt": "rules: []"}}},
        {"rules": {"configMaps": [{"name": "of-orders"}]}},
        {"terminationGracePeriodSeconds": 10},
    ],
    ids=str,
)
def test_the_schema_rejects(wrong: Manifest) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_templates_use_values_that_exist() -> None:
    used = {
        path
        for template in (CHART / "templates").iterdir()
        for path in re.findall(r"\.Values\.([\w.]+)", template.read_text())
    }
    known = set(paths(VALUES)) | {"settings.ADMIN__PORT"}
    assert used - known == set()
    unused = {path for path in known if not any(each.startswith(path) for each in used)}
    assert {path for path in unused if not any(path.startswith(each) for each in used)} == set()


def paths(values: Manifest, above: str = "") -> list[str]:
    inner = [
        deeper
        for name, value in values.items()
        if isinstance(value, dict)
        for deeper in paths(value, f"{above}{name}.")
    ]
    return [f"{above}{name}" for name in values] + inner


def test_the_chart_has_the_same_alerts() -> None:
    told = "they differ: scripts/prometheusrule.sh copies them"
    original = (TOP / "deploy" / "monitoring" / "alerts.yaml").read_text()
    assert (CHART / "files" / "alerts.yaml").read_text() == original, told


# --- with helm ---


@each_example
def test_the_chart_passes_lint_and_renders_what_kubernetes_takes(helm: str, example: Path) -> None:
    words = [helm, "lint", "--strict", str(CHART), "--values", str(example)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for manifest in manifests(helm, example):
        for version in VERSIONS:
            if manifest["apiVersion"] not in FOREIGN:
                kubernetes_validate.validate(manifest, version, strict=True)


def test_without_rules_nothing_is_installed(helm: str) -> None:
    done = rendered(helm)
    assert done.returncode != 0
    assert "There are no rules: give rules.files, rules.configMaps or both" in done.stderr


@each_example
def test_a_pod_is_as_hardened_as_that_of_kustomize(helm: str, example: Path) -> None:
    pod = of_kind("Deployment", manifests(helm, example))["spec"]["template"]["spec"]
    like = yaml.safe_load((BASE / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    for part in ("securityContext", "automountServiceAccountToken", "enableServiceLinks",
                 "terminationGracePeriodSeconds"):  # fmt: skip
        assert pod[part] == like[part], part
    (container,), (other,) = pod["containers"], like["containers"]
    for part in ("securityContext", "livenessProbe", "readinessProbe", "startupProbe", "ports",
                 "resources", "volumeMounts"):  # fmt: skip
        assert container[part] == other[part], part


@each_example
def test_the_settings_of_an_example_can_be_used(helm: str, example: Path, tmp_path: Path) -> None:
    given = of_kind("ConfigMap", [
        each for each in manifests(helm, example) if each["metadata"]["name"].endswith("-settings")
    ])["data"]  # fmt: skip
    for name in ("kafka__sasl__password", "redis_url"):
        if name in example.read_text():
            (tmp_path / name).write_text("redis://cache" if name == "redis_url" else "s3cret")
    asked = subprocess.run(
        [sys.executable, "-m", "invalidator", "settings", "--json"],
        env={"PATH": os.environ["PATH"], "INVALIDATOR_SECRETS_DIR": str(tmp_path)} | given,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    assert [entry["name"] for entry in json.loads(asked.stdout) if entry["hidden"]] == []


def test_rules_of_several_teams_lie_side_by_side(helm: str) -> None:
    pod = of_kind("Deployment", manifests(helm, CHART / "examples" / "teams.yaml"))["spec"]
    (volume,) = [each for each in pod["template"]["spec"]["volumes"] if each["name"] == "rules"]
    maps = [source["configMap"] for source in volume["projected"]["sources"]]
    assert [each["items"][0]["path"] for each in maps] == ["orders.yaml", "customers.yaml"]


def test_a_digest_takes_precedence_and_a_scaler_sets_the_replicas(helm: str) -> None:
    found = manifests(helm, CHART / "examples" / "teams.yaml")
    deployment = of_kind("Deployment", found)["spec"]
    assert "@sha256:" in deployment["template"]["spec"]["containers"][0]["image"]
    assert "replicas" not in deployment
    assert of_kind("HorizontalPodAutoscaler", found)["spec"]["maxReplicas"] == 12
    assert of_kind("PrometheusRule", found)["spec"]["groups"]
    labels = of_kind("ServiceMonitor", found)["metadata"]["labels"]
    assert labels["release"] == "kube-prometheus-stack"
