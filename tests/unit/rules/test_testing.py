"""`tests:` in rules files, the published schema, and hot reload."""

import asyncio
import json
import os
from pathlib import Path

import pytest

import invalidator
from invalidator.errors import RulesError
from invalidator.rules import RuleSet, load
from invalidator.rules.explain.run_tests import run_tests
from invalidator.rules.file.reload import Watcher, watch
from invalidator.rules.file.schema import published_schema

ROOT = Path(invalidator.__file__).parent.parent

TESTED = """
rules:
  - {name: a, on: t, when: state == "live", on_error: skip, invalidate: {keys: "k:{id}"}}
  - {name: b, on: u, invalidate: {tags: "g:{headers.h}:{event.key}"}}
  - {name: c, on: v, invalidate: {versions: x}}
tests:
  - {name: good, event: {type: t, id: 1, state: live}, expect: {keys: ["k:1"]}}
  - {name: quiet, event: {type: t, id: 1}, expect: nothing}
  - {name: around, event: {type: u}, headers: {h: x}, key: y, expect: {tags: "g:x:y"}}
  - {name: refused, event: {type: t, state: live}, expect: {rejected: a}}
  - {name: wrong, event: {type: t, id: 1, state: live}, expect: {keys: ["k:2"]}}
"""


def test_tests_show_what_differs_and_which_rules_they_leave_out(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(TESTED)
    results = run_tests(load(path))
    assert [result.test.name for result in results.failed] == ["wrong"]
    assert results.failed[0].differences == ("- keys     k:2", "+ keys     k:1")
    assert results.uncovered == ("c",)


def test_the_published_schema_is_current() -> None:
    published = ROOT / "schema" / "rules.schema.json"
    assert published.read_text() == published_schema(), (
        "run: invalidator schema > " + published.name
    )
    assert "schema/rules.schema.json" in (ROOT / "rules.yaml").read_text().splitlines()[0]


def test_the_sample_is_in_order() -> None:
    assert not run_tests(load(ROOT / "rules.yaml")).failed


GOOD = "rules: [{name: %s, on: t, invalidate: {keys: k}}]"


def names(ruleset: RuleSet | None) -> list[str]:
    return [rule.name for rule in ruleset.rules] if ruleset else []


def test_a_change_is_seen_once_and_a_bad_one_is_rejected_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD % "one")
    watcher = Watcher(path)
    first, problems = watcher.start()
    assert (names(first), problems) == (["one"], [])
    assert watcher.look() is None
    path.write_text(GOOD % "two")
    assert names(watcher.look()) == ["two"]
    assert watcher.look() is None
    path.write_text("rules: 5")
    with pytest.raises(RulesError):
        watcher.look()
    assert watcher.look() is None
    path.unlink()
    with pytest.raises(RulesError, match="does not exist"):
        watcher.look()
    assert watcher.look() is None
    path.write_text(GOOD % "three")
    assert names(watcher.look()) == ["three"]


def test_rules_whose_own_tests_fail_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD % "one")
    watcher = Watcher(path)
    watcher.start()
    path.write_text(GOOD % "two" + "\ntests: [{event: {type: t}, expect: nothing}]")
    with pytest.raises(RulesError, match="the test fails"):
        watcher.look()


def test_a_config_maps_swap_is_seen(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "rules.yaml").write_text(GOOD % version)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "rules.yaml").symlink_to("..data/rules.yaml")
    watcher = Watcher(tmp_path)
    assert names(watcher.start()[0]) == ["one"]
    (tmp_path / "..new").symlink_to("..two")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert names(watcher.look()) == ["two"]


def test_the_last_good_rules_are_a_way_to_start(tmp_path: Path) -> None:
    path, kept = tmp_path / "rules.yaml", tmp_path / "kept.json"
    path.write_text(GOOD % "one")
    Watcher(path, last_good=kept).start()
    path.write_text("rules: 5")
    ruleset, problems = Watcher(path, last_good=kept).start()
    assert names(ruleset) == ["one"]
    assert problems
    kept.write_text(json.dumps([{"name": 5}]))
    with pytest.raises(RulesError, match="expected a list"):
        Watcher(path, last_good=kept).start()


def test_a_copy_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path, kept = tmp_path / "rules.yaml", tmp_path / "kept"
    path.write_text(GOOD % "one")
    kept.mkdir()  # nothing can take its place
    watcher = Watcher(path, last_good=kept)
    assert names(watcher.start()[0]) == ["one"]
    assert watcher.unkept == f"{kept}: Is a directory"
    assert {found.name for found in tmp_path.iterdir()} == {"rules.yaml", "kept"}


async def test_watching_hands_over_what_is_good_and_names_what_is_not(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD % "one")
    watcher = Watcher(path)
    watcher.start()
    said: asyncio.Queue[str] = asyncio.Queue()
    wake = asyncio.Event()
    task = asyncio.create_task(
        watch(
            watcher,
            lambda ruleset: said.put_nowait(ruleset.rules[0].name),
            lambda error: said.put_nowait("refused"),
            wake=wake,
            every=0.01,
        )
    )
    try:
        async with asyncio.timeout(60):
            path.write_text(GOOD % "two")
            assert await said.get() in ("two", "refused")  # written in two steps
            path.write_text("rules: 5")
            while await said.get() != "refused":
                pass
            path.write_text(GOOD % "three")
            while await said.get() != "three":
                pass
            wake.set()
            assert await said.get() == "three"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
