"""docs/rules.md: every field, and every example runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import invalidator
from invalidator.rules.explain.run_tests import run_tests
from invalidator.rules.file import schema
from invalidator.rules.file.types import Either, Listed, Object, Spec
from invalidator.rules.lint import check

PAGE = (Path(invalidator.__file__).parent.parent / "docs" / "rules.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(at) for at in range(len(BLOCKS))])
def test_an_example_is_in_order_and_does_what_it_says(block: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(block)
    checked = check(path)
    assert checked.ruleset, [str(finding.problem) for finding in checked.findings]
    results = run_tests(checked.ruleset)
    assert results.results
    assert [(result.test.name, result.differences) for result in results.failed] == []


def fields(spec: Spec) -> Iterator[str]:
    if isinstance(spec, Object):
        for name, field in spec.fields.items():
            yield name
            yield from fields(field.spec)
        if spec.others:
            yield from fields(spec.others)
    elif isinstance(spec, Listed):
        yield from fields(spec.item)
    elif isinstance(spec, Either):
        yield from fields(spec.other)


def test_every_field_is_described_and_shown() -> None:
    names = set(fields(schema.FILE))
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []
    shown = "\n".join(BLOCKS)
    unshown = {name for name in names if not re.search(rf"\b{name}:", shown)}
    assert unshown - {"version", "format"} == set()
