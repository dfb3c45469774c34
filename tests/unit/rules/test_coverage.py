"""A service's templates and the rules are compared in both directions."""

from pathlib import Path
from typing import Any

import pytest

from invalidator.cache import Cache
from invalidator.rules import RuleSet, load
from invalidator.rules.coverage import compare

RULES = """
caches:
  default: {prefix: "shop:", tags: [{layout: stamp}]}
rules:
  - {name: orders, on: t, invalidate: {keys: "order:single:{data.id}", tags: "customer:{data.c}"}}
  - {name: lists, on: t, invalidate: {patterns: "list:{data.id}:*", versions: catalogue}}
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> RuleSet:
    return written(tmp_path, RULES)


def written(folder: Path, text: str) -> RuleSet:
    (folder / "rules.yaml").write_text(text)
    return load(folder / "rules.yaml")


def declared(*templates: str, prefix: str = "shop:", **more: Any) -> Any:
    cache = Cache.from_url("redis://127.0.0.1:1/0", prefix=prefix)

    async def function(id: str) -> int:  # noqa: A002 - what templates name
        return 0

    for template in templates:
        cache.cached(template, **more)(function)
    return cache.declared


def unreached(ruleset: RuleSet, *args: Any, **more: Any) -> list[str]:
    findings = compare(ruleset, declared(*args, **more))
    return [each.problem.text for each in findings if each.severity == "warning"]


def unrendered(ruleset: RuleSet, *args: Any, **more: Any) -> list[str]:
    findings = compare(ruleset, declared(*args, **more))
    return [each.problem.text for each in findings if each.severity == "note"]


def test_what_a_rule_deletes_by_key_or_pattern_is_reached(ruleset: RuleSet) -> None:
    assert unreached(ruleset, "order:single:{id}", "list:{id}:page", "list:{id}:a:b") == []


def test_what_no_rule_names_is_reported_with_its_place(ruleset: RuleSet) -> None:
    assert unreached(ruleset, "order:{id}", "list:{id}") == ["shop:order:{id}", "shop:list:{id}"]
    (problem,) = (
        each.problem
        for each in compare(ruleset, declared("price:{id}"))
        if each.severity == "warning"
    )
    assert problem.message.startswith("no rule reaches shop:price:{id}: what ")
    assert problem.file == __file__
    line = Path(__file__).read_text().splitlines()[problem.line - 1]
    assert line.strip().startswith("async def function")


def test_the_prefix_counts(ruleset: RuleSet) -> None:
    assert unreached(ruleset, "order:single:{id}", prefix="other:") == ["other:order:single:{id}"]


def test_tags_and_versions_reach_too(ruleset: RuleSet) -> None:
    assert unreached(ruleset, "x:{id}", tags=["customer:{id}"]) == []
    assert unreached(ruleset, "x:{id}", versions=["catalogue"]) == []
    assert unreached(ruleset, "x:{id}", tags=["region:{id}"], versions=["other"]) != []


def test_tags_in_another_layout_do_not_reach(tmp_path: Path) -> None:
    rules = "rules: [{name: r, on: t, invalidate: {tags: 'customer:{data.c}'}}]"
    found = compare(written(tmp_path, rules), declared("x:{id}", tags=["customer:{id}"]))
    warning, note = sorted(found, key=lambda each: each.severity, reverse=True)
    assert (warning.severity, note.severity) == ("warning", "note")
    assert warning.problem.message.endswith(
        "; a rule names its tag customer:{id}, and its cache lacks {layout: stamp}"
    )


def test_rules_that_name_what_nothing_renders_are_notes(ruleset: RuleSet) -> None:
    assert unrendered(ruleset, "order:single:{id}", tags=["customer:{id}"]) == [
        "list:{data.id}:*",
        "catalogue",
    ]
    everything = unrendered(ruleset, "order:single:{id}", "list:{id}:{id}", tags=["customer:{id}"])
    assert everything == ["catalogue"]


def test_a_rule_that_is_switched_off_reaches_nothing(tmp_path: Path) -> None:
    rules = "rules: [{name: r, on: t, enabled: false, invalidate: {keys: 'x:{data.id}'}}]"
    assert unreached(written(tmp_path, rules), "x:{id}", prefix="") == ["x:{id}"]
