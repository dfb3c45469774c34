"""The dashboard and the alerts, compared with what the daemon shows and the runbooks say."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from invalidator.cache.memory import SyncMemoryCache
from invalidator.cache.metrics import CacheCollector
from invalidator.runtime import metrics
from tests.e2e.process import DaemonProcess
from tests.pages import TOP, Page

FOLDER = TOP / "deploy" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana" / "invalidator.json").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
OPERATIONS = Page(TOP / "docs" / "operations.md")
_METRIC = re.compile(r"\b(?:invalidator|process)_[a-z0-9_]+\b")
_BY = re.compile(r"\bby \(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_OURS = {"le", "job", "namespace", "instance"}  # labels that Prometheus adds, and its buckets
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
RUNBOOKS = PROJECT["urls"]["Runbooks"]

_CACHE = SyncMemoryCache()
_CACHE.spec("default")
OF_SERVICES = [*CacheCollector(shop=_CACHE).collect()]  # that use the read side

Expressions = list[tuple[str, str]]  # where it stands, and what it is


def dashboard() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for entry in DASHBOARD["templating"]["list"]:
        if entry["type"] == "query":
            yield entry["name"], entry["query"]["query"]
    for entry in DASHBOARD["annotations"]["list"]:
        yield entry["name"], entry["expr"]


EXPRESSIONS: Expressions = [*dashboard(), *((rule["alert"], rule["expr"]) for rule in ALERTS)]


@pytest.fixture(scope="module")
def shown(shared_redis: str, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return every name that an expression may use, as a daemon shows it."""
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text("rules: [{name: r, on: a, invalidate: {keys: ['k:{id}']}}]")
    given = {"RULES": str(rules), "REDIS_URL": shared_redis, "PUBSUB__CHANNELS": "monitored"}
    with closing(DaemonProcess(given)) as daemon:
        daemon.await_ready()
        _, text = daemon.admin("/metrics")
        assert daemon.stop() == 0
    families = [*text_string_to_metric_families(text), *OF_SERVICES]
    return {name for family in families for name in names_of(family)}


def names_of(family: Any) -> list[str]:
    ends = {
        "counter": ["_total"],
        "info": ["_info"],
        "histogram": ["_bucket", "_sum", "_count"],
        "summary": ["_sum", "_count"],
    }
    return [family.name + end for end in ends.get(family.type, [""])] + [family.name]


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS)
def test_a_metric_in_an_expression_exists(place: str, expression: str, shown: set[str]) -> None:
    asked = set(_METRIC.findall(expression)) | set(re.findall(r"\bup\b", expression))
    assert asked, place
    assert asked - shown == asked & {"up"}


def declared() -> dict[str, set[str]]:
    """Return the labels of each metric, by the prefix that its names share."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, metrics.Asked):
            name, _, labels = metric._about
            found[name] = set(labels)
        elif hasattr(metric, "_labelnames"):
            found[metric._name] = set(metric._labelnames)
    found |= {family.name: set(getattr(family, "_labelnames", ())) for family in OF_SERVICES}
    return found | {"invalidator_rules": {"hash"}, "invalidator_build": {"version"}}


LABELS = declared()


def labels_of(expression: str) -> set[str]:
    known = set(_OURS)
    for name in _METRIC.findall(expression):
        short = re.sub(r"_(total|bucket|sum|count|info)$", "", name)
        known |= LABELS.get(name, set()) | LABELS.get(short, set())
    return known


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS)
def test_a_label_in_an_expression_belongs_to_the_metric(place: str, expression: str) -> None:
    asked = {label.strip() for inner in _BY.findall(expression) for label in inner.split(",")}
    for inner in _MATCHERS.findall(expression):
        asked |= set(re.findall(r"(\w+)\s*[=!]", inner))
    assert asked - labels_of(expression) == set(), place


def test_legends_and_summaries_show_labels_that_are_left() -> None:
    wrong = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            wrong += [(panel["title"], used)] if used - left(target["expr"]) else []
    for rule in ALERTS:
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        wrong += [(rule["alert"], used)] if used - left(rule["expr"]) else []
    assert wrong == []


def left(expression: str) -> set[str]:
    """Return the labels that distinguish an expression's series."""
    by = [{label.strip() for label in inner.split(",")} for inner in _BY.findall(expression)]
    if by:
        return set.union(*by)
    return set() if re.match(r"(max|min|sum)\(", expression) else labels_of(expression)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    named = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in ALERTS}
    for alert, runbook in named.items():
        assert runbook == f"{RUNBOOKS}#{alert.lower()}"
    linked = [link for panel in DASHBOARD["panels"] for link in panel.get("links", [])]
    assert {link["title"]: link["url"] for link in linked}.items() <= named.items()
    assert len({link["title"] for link in linked}) == len(named)
    sections = set(re.findall(r"^### (Invalidator\w+)$", OPERATIONS.prose, re.MULTILINE))
    assert sections == set(named)


def test_every_alert_says_which_deployment_it_is_about() -> None:
    for rule in ALERTS:
        for labels in _BY.findall(rule["expr"]):
            assert {"job", "namespace"} <= set(labels.split(", ")), rule["alert"]


def test_the_operator_gets_the_same_alerts() -> None:
    path = TOP / "deploy" / "kubernetes" / "monitoring" / "prometheusrule.yaml"
    written = yaml.safe_load(path.read_text())["spec"]["groups"]
    told = "they differ: scripts/prometheusrule.sh writes them"
    assert written == yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"], told


def test_every_alert_has_a_severity() -> None:
    assert {rule["labels"]["severity"] for rule in ALERTS} <= {"critical", "warning", "info"}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("there is no promtool: Debian's package prometheus has it")
    return found


def test_alerts_are_raised_when_they_should_be_and_only_then(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", "alerts.test.yaml"], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (FOLDER / "alerts.test.yaml").read_text()
    assert [rule["alert"] for rule in ALERTS if rule["alert"] not in tested] == []


def test_prometheus_accepts_its_configuration(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "config", "prometheus.yaml"], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_of_the_dashboard_can_be_read(promtool: str, tmp_path: Path) -> None:
    """Check them as rules, which is how promtool reads expressions."""
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__\w+", "5m", expression)}
        for number, (_, expression) in enumerate(dashboard())
        if not expression.startswith("label_values")
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
