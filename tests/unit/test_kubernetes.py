"""What is in deploy/kubernetes: valid for Kubernetes, and what the daemon expects."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from invalidator.rules import load as load_rules
from invalidator.rules.explain.run_tests import run_tests
from invalidator.rules.lint import check
from invalidator.settings import defaults, load
from tests.pages import Page

TOP = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE, OVERLAY, MONITORING = TOP / "base", TOP / "overlays" / "production", TOP / "monitoring"
VERSIONS = ["1.29", "1.33"]  # the oldest that clouds still run, about, and a newer one
FOREIGN = {"monitoring.coreos.com/v1"}  # kinds of the Prometheus operator

Manifest = dict[str, Any]


def kustomization(folder: Path) -> Manifest:
    found: Manifest = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def resources(folder: Path) -> list[Manifest]:
    files = [f for f in kustomization(folder)["resources"] if f.endswith(".yaml")]
    return [yaml.safe_load((folder / file).read_text()) for file in files]


def merged(under: Any, over: Any) -> Any:
    """A strategic merge, as far as our patches go: lists of things with names, and maps."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merged(under.get(key), value) for key, value in over.items()}
    if isinstance(under, list) and isinstance(over, list):
        named = {each["name"]: each for each in under}
        return list((named | {o["name"]: merged(named.get(o["name"]), o) for o in over}).values())
    return over


def patched() -> list[Manifest]:
    """The base with the overlay's patches."""
    found = resources(BASE)
    for patch in kustomization(OVERLAY)["patches"]:
        change = yaml.safe_load((OVERLAY / patch["path"]).read_text())
        found = [merged(each, change) if each["kind"] == change["kind"] else each for each in found]
    return found


def of_kind(kind: str, manifests: list[Manifest] | None = None) -> Manifest:
    return next(each for each in manifests or resources(BASE) if each["kind"] == kind)


def pod() -> Manifest:
    spec: Manifest = of_kind("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> Manifest:
    (found,) = pod()["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [*resources(BASE), *patched()], ids=lambda m: m["kind"])
def test_manifests_are_valid(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_all_files_are_used() -> None:
    for folder in (BASE, OVERLAY, MONITORING):
        made = kustomization(folder)
        used = [*made["resources"], *(p["path"] for p in made.get("patches", []))]
        used += [
            file for each in made.get("configMapGenerator", []) for file in each.get("files", [])
        ]
        present = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert {file for file in used if "/" not in file} == present


def test_the_overlay_builds_what_kubernetes_takes() -> None:
    tool = shutil.which("kustomize") or shutil.which("kubectl")
    if tool is None:
        pytest.skip("there is no kustomize and no kubectl: the files alone were checked")
    verb = ["kustomize"] if tool.endswith("kubectl") else ["build"]
    done = subprocess.run([tool, *verb, str(OVERLAY)], capture_output=True, text=True, check=True)
    built = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"]["namespace"] for each in built} == {"shop"}
    for manifest in built:
        if manifest["apiVersion"] not in FOREIGN:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    deployment = of_kind("Deployment", built)["spec"]
    assert deployment["replicas"] == 3
    (built_container,) = deployment["template"]["spec"]["containers"]
    assert built_container["resources"]["requests"]["cpu"] == "1"
    maps = {each["metadata"]["name"]: each["data"] for each in built if each["kind"] == "ConfigMap"}
    assert "customer-changed" in maps["invalidator-rules"]["rules.yaml"]
    (reference,) = built_container["envFrom"]
    assert (
        maps[reference["configMapRef"]["name"]]["INVALIDATOR_KAFKA__TOPICS"] == "orders,customers"
    )


def test_the_rendered_pod_takes_every_url_from_the_documented_secret(tmp_path: Path) -> None:
    tool = shutil.which("kustomize") or shutil.which("kubectl")
    if tool is None:
        pytest.skip("there is no kustomize and no kubectl: literals were compared instead")
    verb = ["kustomize"] if tool.endswith("kubectl") else ["build"]
    done = subprocess.run([tool, *verb, str(OVERLAY)], capture_output=True, text=True, check=True)
    built = list(yaml.safe_load_all(done.stdout))
    (reference,) = of_kind("Deployment", built)["spec"]["template"]["spec"]["containers"][0][
        "envFrom"
    ]
    (given,) = [
        each["data"]
        for each in built
        if each["kind"] == "ConfigMap"
        and each["metadata"]["name"] == reference["configMapRef"]["name"]
    ]
    secret = {
        name: value.replace("…", "s3cret-of-this-test")
        for name, value in documented_secret().items()
    }
    assert {"redis_url", "state_url", "source_redis_url", "caches__search"} <= set(secret)
    for name, value in secret.items():
        (tmp_path / name).write_text(value)
    asked = subprocess.run(
        [sys.executable, "-m", "invalidator", "settings", "--json"],
        env={"PATH": os.environ["PATH"], "INVALIDATOR_SECRETS_DIR": str(tmp_path)} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "s3cret" not in asked.stdout
    shown = {entry["name"]: entry for entry in json.loads(asked.stdout)}
    for name in secret:
        entry = shown[f"INVALIDATOR_{name.upper()}"]
        assert entry["origin"] == f"secret file {tmp_path / name}"
    assert [entry["name"] for entry in shown.values() if entry["hidden"]] == []
    assert shown["INVALIDATOR_KAFKA__TOPICS"]["value"] == "orders,customers"


def documented_secret() -> dict[str, str]:
    text = (OVERLAY / "kustomization.yaml").read_text()
    return {
        name: value.strip("'") for name, value in re.findall(r"--from-literal=(\w+)=(\S+)", text)
    }


def test_the_documented_patch_mounts_the_rules_of_several_teams(tmp_path: Path) -> None:
    tool = shutil.which("kustomize") or shutil.which("kubectl")
    if tool is None:
        pytest.skip("there is no kustomize and no kubectl")
    page = Page(TOP.parents[1] / "docs" / "operations.md")
    (patch,) = (block.text for block in page.blocks if "rules-of-orders" in block.text)
    shutil.copytree(TOP, tmp_path / "kubernetes")
    folder = tmp_path / "kubernetes" / "overlays" / "teams"
    folder.mkdir()
    named = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: invalidator}\n"
    (folder / "patch.yaml").write_text(named + patch)
    overlay = {"resources": ["../production"], "patches": [{"path": "patch.yaml"}]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    verb = ["kustomize"] if tool.endswith("kubectl") else ["build"]
    done = subprocess.run([tool, *verb, str(folder)], capture_output=True, text=True, check=True)
    deployment = of_kind("Deployment", list(yaml.safe_load_all(done.stdout)))
    kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    spec = deployment["spec"]["template"]["spec"]
    (rules,) = (volume for volume in spec["volumes"] if volume["name"] == "rules")
    assert "configMap" not in rules
    items = [source["configMap"]["items"][0] for source in rules["projected"]["sources"]]
    assert [item["path"] for item in items] == ["orders.yaml", "customers.yaml"]


def literals(folder: Path) -> Iterator[tuple[str, str]]:
    for made in kustomization(folder)["configMapGenerator"]:
        for literal in made.get("literals", []):
            name, _, value = literal.partition("=")
            yield name, value


def test_no_setting_hides_one_of_the_secret() -> None:
    """The environment takes precedence over mounted files."""
    secret = {f"INVALIDATOR_{name.upper()}" for name in documented_secret()}
    assert "INVALIDATOR_REDIS_URL" in secret
    assert secret & {name for name, _ in [*literals(BASE), *literals(OVERLAY)]} == set()


def test_the_settings_are_in_order_with_what_kubernetes_adds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in [*literals(BASE), *literals(OVERLAY)]:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INVALIDATOR_KAFKA__SASL__PASSWORD", "from the Secret")
    # what every pod gets from a Service called invalidator
    monkeypatch.setenv("INVALIDATOR_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("INVALIDATOR_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("INVALIDATOR_PORT_8080_TCP_ADDR", "10.0.0.1")
    settings = load()
    assert settings.admin.host == "0.0.0.0"
    assert settings.kafka.topics == ("orders", "customers")
    mounts = {mount["name"]: mount for mount in container()["volumeMounts"]}
    assert str(settings.rules) == mounts["rules"]["mountPath"]
    assert str(settings.secrets_dir) == mounts["secrets"]["mountPath"]


@pytest.mark.parametrize("folder", [BASE, OVERLAY], ids=lambda folder: folder.name)
def test_the_rules_are_in_order(folder: Path) -> None:
    checked = check(folder / "rules.yaml")
    assert checked.findings == ()
    results = run_tests(load_rules(folder / "rules.yaml"))
    assert results.results
    assert list(results.failed) == []


def test_changed_rules_reach_the_running_daemon() -> None:
    """Only a directory is mounted anew by the kubelet, and only under one name for ever."""
    (mount,) = [m for m in container()["volumeMounts"] if m["name"] == "rules"]
    assert "subPath" not in mount
    (volume,) = [volume for volume in pod()["volumes"] if volume["name"] == "rules"]
    for folder in (BASE, OVERLAY):
        (made,) = [
            made
            for made in kustomization(folder)["configMapGenerator"]
            if made["name"] == volume["configMap"]["name"]
        ]
        assert made["options"]["disableNameSuffixHash"] is True


def test_a_pod_has_longer_to_end_than_the_daemon_takes() -> None:
    drain = next(each for each in defaults() if each.name == "INVALIDATOR_DRAIN_TIMEOUT").default
    assert drain == "20s"
    assert pod()["terminationGracePeriodSeconds"] >= 20 + 15


def test_the_pod_may_do_as_little_as_possible() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    own = container()["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    image = (TOP.parents[1] / "Dockerfile").read_text()
    assert f"USER {pod()['securityContext']['runAsUser']}:" in image
    assert "memory" in container()["resources"]["limits"]


def test_probes_ask_what_the_daemon_answers() -> None:
    (port,) = container()["ports"]
    asked = {
        name: probe["httpGet"] for name, probe in container().items() if name.endswith("Probe")
    }
    assert {probe["path"] for probe in asked.values()} == {"/livez", "/readyz"}
    assert asked["readinessProbe"]["path"] == "/readyz"
    assert {probe["port"] for probe in asked.values()} == {port["name"]}


def test_all_selectors_find_the_pods_and_the_port() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    service = of_kind("Service")
    monitor = of_kind("ServiceMonitor", resources(MONITORING))
    assert of_kind("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "invalidator"
