"""The verbs on rules: check, test, explain, schema."""

import json
from pathlib import Path

import pytest

from invalidator.cli import main

GOOD = """
rules:
  - {name: orders, on: order.*, invalidate: {keys: "o:{id}", tags: "g:{id}"}}
  - {name: lists, on: order.*, invalidate: {patterns: "list:{id}:*"}}
tests:
  - name: an update
    event: {type: order.updated, id: 1}
    expect: {keys: "o:1", tags: "g:1", patterns: "list:1:*"}
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text("rules:\n  - nam: x\n")
    return str(path)


def test_check_says_that_rules_are_in_order(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", good]) == 0
    assert capsys.readouterr().out.startswith("2 rules valid")


def test_check_names_every_mistake(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", bad]) == 1
    out = capsys.readouterr().out
    assert f"{bad}:2:5: error: a rule has no field nam; did you mean name?" in out
    assert "3 mistakes" in out


def test_check_as_json_and_for_github(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", bad, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["findings"][-1]["line"]) == (False, 2)
    assert main(["check", bad, "--format", "github"]) == 1
    assert f"::error file={bad},line=2,col=5::a rule has no field" in capsys.readouterr().out


def test_strict_fails_on_warnings(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: r, on: t, invalidate: {keys: 'k:*'}}]")
    assert main(["check", str(path)]) == 0
    assert main(["check", str(path), "--strict"]) == 1


def test_check_tells_of_rules_for_what_the_settings_do_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: r, on: t, source: ordrs, invalidate: {keys: k}}]")
    assert main(["check", str(path)]) == 0
    assert "note" not in capsys.readouterr().out
    monkeypatch.setenv("INVALIDATOR_STREAMS__KEYS", "orders")
    assert main(["check", str(path), "--strict"]) == 0
    said = "note: it is only for ordrs, which is not read here; did you mean orders?"
    assert said in capsys.readouterr().out


def test_test_runs_the_tests(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", good]) == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out
    Path(good).write_text(GOOD.replace('keys: "o:1"', 'keys: "o:2"'))
    assert main(["test", good]) == 1
    out = capsys.readouterr().out
    assert "- keys     o:2" in out
    assert "+ keys     o:1" in out


def test_explain_says_that_an_event_has_no_type_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    every = "{name: every, on: '**', invalidate: {keys: k}}"
    path.write_text(f"rules: [{every}, {{name: one, on: orders, invalidate: {{keys: o}}}}]")
    assert main(["explain", '{"id": 5}', "--rules", str(path)]) == 0
    out = capsys.readouterr().out
    assert "type not in the event: it is the name of the topic or channel, which --source" in out
    assert "- one: an event without a type is not orders" in out
    assert main(["explain", '{"id": 5}', "--rules", str(path), "--source", "orders"]) == 0
    assert capsys.readouterr().out.startswith("type orders\n+ every")


def test_explain_says_who_does_what(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", '{"type": "order.x", "id": 5}', "--rules", good]) == 0
    out = capsys.readouterr().out
    assert "+ orders: on order.*" in out
    assert "keys     o:5  by o:{id}" in out
    assert "3 names to invalidate" in out
    assert main(["explain", '{"type": "order.x"}', "--rules", good]) == 1
    assert "the event has no id" in capsys.readouterr().out
    assert main(["explain", "{", "--rules", good]) == 1


def test_explain_as_json(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", '{"type": "order.x", "id": 5}', "--rules", good, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rules"][0]["names"][0]["name"] == "o:5"


def test_explain_of_a_key_goes_backwards(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--key", "list:7:1", "--rules", good]) == 0
    out = capsys.readouterr().out
    assert "lists: patterns list:{id}:*" in out
    assert "orders: keys" not in out
    assert "g:{id}  (orders)" in out
    assert main(["explain", "--key", "tag:x", "--rules", good]) == 0
    assert "sweeps spare it: tags kept as set" in capsys.readouterr().out


def test_explain_of_a_key_says_of_which_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tag deletes only keys of its own cache."""
    (path := tmp_path / "rules.yaml").write_text(
        "version: 1\ncaches: {pages: {target: varnish, prefix: 'http://a'}}\n"
        "rules:\n- {name: r, on: x, cache: pages, invalidate: {keys: '/p/{id}', tags: 'p:{id}'}}\n"
    )
    assert main(["explain", "--key", "http://a/p/1", "--rules", str(path)]) == 0
    out = capsys.readouterr().out
    assert "r: keys /p/{id}, on x  in pages\n" in out
    assert "  p:{id}  (r)  in pages\n" in out


def test_explain_wants_an_event_or_a_key(good: str) -> None:
    assert main(["explain", "--rules", good]) == 2


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["rules"]


def test_explain_says_what_a_condition_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        """rules:
  - {name: r, on: users.*, when: 'state == "live" && has(before.x)', invalidate: {keys: k}}"""
    )
    rows = {"before": {"state": "draft"}, "after": {"state": "new"}}
    event = json.dumps({"op": "u", "source": {"table": "users"}, **rows})
    assert main(["explain", event, "--rules", str(path)]) == 0
    assert "state was 'new' and 'draft', before.x was missing" in capsys.readouterr().out


def test_what_an_event_says_does_not_steer_the_terminal(
    good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = json.dumps({"type": "\x1b[31mred\x07", "data": {"id": "\x1b"}})
    assert main(["explain", event, "--rules", good]) == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
    assert main(["explain", json.dumps({"type": "order.x", "id": "\u202e"}), "--rules", good]) == 0
    assert "\u202e" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["test", "{rules}"],
        ["check", "\x1b[2J"],
        ["explain", "--key", "a", "--rules", "\x9b2J"],
        ["publish", "\x1b[2J", "{}", "--redis-url", "redis://127.0.0.1:1/\x1b"],
        ["purge", "--key", "a", "--why", "b", "--cache", "\x1b[2J", "--rules", "{rules}"],
        ["replay", "--since", "\x1b[2J"],
        ["run", "--rules", "\x1b[2J"],
        ["settings", "--env-file", "\x1b[2J"],
        ["dead", "show", "\x1b[2J"],
    ],
)
def test_no_verb_prints_what_controls_the_terminal(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace("id: 1}", 'id: "\\e[2J"}'))
    main([word.replace("{rules}", str(path)) for word in words])
    said = "".join(capsys.readouterr())
    assert "\\x" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_rules_without_tests_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    rules = ", ".join(f"{{name: r{at}, on: t, invalidate: {{keys: k}}}}" for at in range(50))
    path.write_text(f"rules: [{rules}]")
    assert main(["test", str(path)]) == 0
    assert "no test covers 50: r0, r1," in capsys.readouterr().out
    assert main(["test", str(path), "--covered"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith(", and 30 more")


SERVICE = """
from invalidator.cache import SyncCache

cache = SyncCache.from_url("redis://127.0.0.1:1/0")


@cache.cached("o:{id}")
def order(id): ...


@cache.cached("price:{id}")
def price(id): ...
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a service's module, in the current directory."""
    name = f"service_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    return name


def test_check_compares_rules_with_a_service(
    good: str, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", good, "--cache", f"{service}:cache"]) == 0
    out = capsys.readouterr().out
    assert f"{service}.py:11:1: warning: no rule reaches price:{{id}}: what {service}.price" in out
    assert "note: no cached function has patterns of this form" in out
    words = ["check", good, "--cache", f"{service}:cache", "--format", "github", "--strict"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert f"::warning file={service}.py,line=11,col=1::no rule reaches price:{{id}}" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("HERE", "--cache takes MODULE:OBJECT, such as shop.data:cache, found 'HERE'"),
        ("HERE:other", "HERE:other: cannot be imported: module 'HERE' has no attribute"),
        ("no_such_module:x", "cannot be imported: No module named 'no_such_module'"),
        ("HERE:price", "HERE:price: is a SyncCached, not a Cache or SyncCache"),
        ("HERE:cache.kinds", "HERE:cache.kinds: is a Kinds, not a Cache or SyncCache"),
    ],
)
def test_a_cache_that_is_not_there_is_named(
    given: str, said: str, good: str, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", good, "--cache", given.replace("HERE", service)]) == 2
    assert said.replace("HERE", service) in capsys.readouterr().err
