"""What the documents name is there: links, files, settings, metrics, verbs, targets."""

import argparse
import ast
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from invalidator import cli
from invalidator.cache.metrics import CacheCollector
from invalidator.model import Record
from invalidator.rules import load
from invalidator.rules.explain.run_tests import run_tests
from invalidator.rules.lint import check
from invalidator.runtime import metrics
from invalidator.settings.fields import leaf_of
from scripts import site
from scripts.images import chart
from tests.pages import HOUSE, TOP, Block, Page, appears, fits, pages

PAGES = pages()
BESIDE = sorted(
    path for path in (TOP / "deploy").rglob("*") if path.suffix in (".yaml", ".yml", ".json")
)
# They have tests of their own, which run every example.
ELSEWHERE = {"docs/rules.md", "docs/conditions.md"}
FOLDERS = {path.name for top in (TOP, HOUSE) for path in top.iterdir() if path.is_dir()}
ABOUT_CODE = [page for page in PAGES if page.name.startswith(("docs/arch", "docs/decisions/"))]
SUFFIXES = {".py", ".md", ".yaml", ".lua", ".json", ".toml", ".sh", ".txt"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_links_lead_somewhere(page: Page) -> None:
    lost = [link for link in page.links if "://" not in link and not leads(page, link)]
    assert lost == []


def leads(page: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.path.parent / path if path else page.path
    if anchor:
        return target.is_file() and anchor in Page(target).anchors
    return target.exists()


@each_page
def test_files_that_are_named_exist(page: Page) -> None:
    assert [span for span in page.spans if is_path(span) and not found(page, span)] == []


def is_path(span: str) -> bool:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span):
        return False
    first, slash, _ = span.partition("/")
    return Path(span).suffix in SUFFIXES or (bool(slash) and first in FOLDERS)


def found(page: Page, span: str) -> bool:
    return any((folder / span).exists() for folder in (TOP, HOUSE, page.path.parent))


@each_page
def test_settings_that_are_named_exist(page: Page) -> None:
    text = re.sub(r"^### Removed\n.*?(?=^##|\Z)", "", page.text, flags=re.DOTALL | re.MULTILINE)
    assert [name for name in settings_in(text) if not leaf_of(name)] == []


def test_settings_that_are_deployed_exist() -> None:
    named = {name for path in BESIDE for name in settings_in(path.read_text())}
    assert named
    assert [name for name in named if not leaf_of(name)] == []


def settings_in(text: str) -> list[str]:
    """`INVALIDATOR_*` stands for all of them."""
    names = re.findall(r"\bINVALIDATOR_\w*(?:<NAME>)?", text)
    return [name for name in names if name != "INVALIDATOR_"]


def test_metrics_that_are_named_exist() -> None:
    kinds = (MetricWrapperBase, metrics.Asked)
    declared = [found for found in vars(metrics).values() if isinstance(found, kinds)]
    families = [family.name for metric in declared for family in metric.describe()]
    families += [family.name for family in CacheCollector().collect()]
    known = {name for family in families for name in names_of(family)}
    texts = [page.text for page in PAGES] + [path.read_text() for path in BESIDE]
    named = {name for text in texts for name in re.findall(r"\binvalidator_[a-z_]+\b", text)}
    assert named
    assert named - known == set()


def names_of(metric: str) -> Iterator[str]:
    yield from (metric, *(f"{metric}_{end}" for end in ("total", "info", "bucket", "sum", "count")))


@each_page
def test_verbs_and_options_that_are_named_exist(page: Page) -> None:
    verbs = parsers(cli.parser())
    wrong = []
    for command in commands(page, "invalidator"):
        verb, *words = command
        if verb.startswith("-"):
            continue
        known = verbs[verb]._option_string_actions if verb in verbs else {}
        for name, part in parsers(verbs[verb]).items() if verb in verbs else ():
            if name in words:  # `dead list`
                known |= part._option_string_actions
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        if verb not in verbs or any(option not in known for option in options):
            wrong.append(command)
    assert wrong == []


def parsers(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def commands(page: Page, program: str) -> Iterator[list[str]]:
    """Each use of a program, in a block or a span, without the program."""
    texts = (block.text.replace("\\\n", " ") for block in page.shells())
    lines = [line for text in texts for line in text.splitlines()]
    for line in [*lines, *page.spans]:
        # settings before it are its environment
        called = re.match(rf"(?:[A-Z_]+=\S+ )*{program} (?=[a-z-])(.*)", line)
        if called:
            yield shlex.split(called[1], comments=True)


@each_page
def test_make_targets_and_modules_that_are_named_exist(page: Page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert {command[0] for command in commands(page, "make")} - targets == set()
    modules = [command[1] for command in commands(page, "python") if command[0] == "-m"]
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("page", ABOUT_CODE, ids=lambda page: page.name)
def test_names_of_code_are_in_the_code(page: Page) -> None:
    code = "\n".join(path.read_text() for path in sorted(HOUSE.rglob("*.py")))
    spans = [span for span in page.spans if re.fullmatch(r"\w+(\.\w+)*(\(\))?", span)]
    words = {word for span in spans for word in re.findall(r"\w+", span)}
    names = {word for word in words if re.fullmatch(r"[A-Z]\w*[a-z]\w*|[a-z_]+_[a-z_]+", word)}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)] == []


def test_every_decision_is_in_the_index() -> None:
    folder = TOP / "docs" / "decisions"
    linked = set(Page(folder / "README.md").links)
    assert {path.name for path in folder.glob("*.md")} - linked == {"README.md"}


# --- blocks ---------------------------------------------------------------------------------

SHELLS = [block for page in PAGES for block in page.shells()]
RULES = [
    block
    for page in PAGES
    if page.name not in ELSEWHERE
    for block in page.blocks
    if block.language == "yaml" and re.search(r"^rules:", block.text, re.MULTILINE)
]


@pytest.mark.parametrize("block", SHELLS, ids=lambda block: block.place)
def test_a_shell_block_can_be_parsed(block: Block) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = {word for words in block.commands() for word in words if word.startswith("deploy/")}
    assert [name for name in sorted(files) if not (TOP / name).exists()] == []


@pytest.mark.parametrize("block", SHELLS, ids=lambda block: block.place)
def test_a_shell_block_is_run(block: Block) -> None:
    known = {"daemon", "soon", "norun", f"apart={block.apart}"}
    assert block.marks <= known
    if block.apart:
        assert "apart(__file__" in (TOP / block.apart).read_text(), f"{block.apart} does not run it"
    if "norun" in block.marks:
        assert cannot_run(block), (
            f"{block.place} is marked norun, which is for {', '.join(NOBODY_HAS)} and "
            f"make {', '.join(LONG)} alone. Take the mark away, and let the page say how all that "
            "the block needs comes about; or let a test run it and mark the block apart=FILE"
        )


NOBODY_HAS = ("docker", "kubectl", "kustomize", "helm", "aws", "gcloud", "git")  # in a test
LONG = ("run", "test", "bench", "faults")  # or without an end; with parts that are tested


def cannot_run(block: Block) -> bool:
    for program, *words in block.commands():
        if program == "make":
            possible = not words or any(word not in LONG for word in words)
        else:
            possible = program not in NOBODY_HAS or (program == "git" and words[:1] != ["clone"])
        if possible:
            return False
    return True


@pytest.mark.parametrize(
    ("text", "cannot"),
    [
        ("docker run --rm redis\nkubectl get pods  # to see\n", True),
        ("docker exec it \\\n  invalidator check\n", True),
        ("git clone https://example.com/shop\nmake run\n", True),
        ("docker run --rm redis\ncurl localhost\n", False),
        ("git status\n", False),
        ("make check\n", False),
        ("make bench check\n", False),
    ],
)
def test_what_cannot_run_is_known(text: str, cannot: bool) -> None:
    assert cannot_run(Block("a page:1", "sh", frozenset({"norun"}), text)) is cannot


@each_page
def test_a_block_is_something_that_is_checked(page: Page) -> None:
    """Shown after a command, run as a shell's, or parsed; without a language it is a drawing."""
    for block in page.blocks:
        if block.language == "text":
            assert block.marks in ({"log"}, {"sample"}), f"{block.place} follows no command"
        else:
            assert block.language in {"", "sh", *PARSED}, block.place


PARSED: dict[str, Callable[[str], object]] = {
    "vcl": str,  # tests/e2e/test_edge.py runs it
    "yaml": yaml.safe_load,
    "json": json.loads,
    "python": ast.parse,
    "js": lambda text: parsed_by(["node", "--check", "--input-type=module", "-"], text),
    "go": lambda text: parsed_by(["gofmt"], text),
}


def parsed_by(words: list[str], text: str) -> None:
    """Nobody who lacks that language has to install it."""
    if shutil.which(words[0]) is not None:
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@each_page
def test_what_is_written_in_other_languages_can_be_parsed(page: Page) -> None:
    for block in page.blocks:
        if block.language in PARSED:
            PARSED[block.language](block.text)


@pytest.mark.parametrize("block", RULES, ids=lambda block: block.place)
def test_rules_are_in_order_and_their_tests_pass(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(block.text)
    checked = check(path)
    assert checked.ruleset, [str(finding.problem) for finding in checked.findings]
    assert checked.findings == ()
    assert list(run_tests(checked.ruleset).failed) == []


@each_page
def test_the_site_shows_no_marks_of_tests(page: Page) -> None:
    shown = site.on_page_markdown(page.text)
    fences = re.findall(r"^ *```(.*)$", shown, re.MULTILINE)
    assert [fence for fence in fences if not re.fullmatch(r"\w*", fence)] == []
    assert len(shown.splitlines()) == len(page.text.splitlines())


def test_rules_that_are_called_tested_are_those_of_the_tests() -> None:
    shown = {block.text for block in Page(TOP / "docs" / "works-with.md").blocks}
    tested = sorted((TOP / "tests" / "integration" / "compat").glob("*.yaml"))
    assert tested
    assert [path.name for path in tested if path.read_text() not in shown] == []


def test_the_chart_is_drawn_from_the_table() -> None:
    drawn = (TOP / "docs" / "images" / "performance.svg").read_text()
    assert drawn == chart.chart((TOP / "docs" / "performance.md").read_text())


def test_the_first_page_lists_every_verb() -> None:
    listed = " ".join(Page(TOP / "README.md").spans).split()
    assert [verb for verb in parsers(cli.parser()) if verb not in listed] == []


def test_the_first_rule_does_what_the_first_page_says(tmp_path: Path) -> None:
    page = Page(TOP / "README.md")
    rules = next(block for block in page.blocks if block.language == "yaml")
    (tmp_path / rules.file).write_text(rules.text)
    event, *keys = re.search(
        r"publishes `(\{.*\})`,\s+the keys `(.*)` and `(.*)` are deleted", page.text
    ).groups()  # type: ignore[union-attr]  # without it the test fails, as it should
    told = load(tmp_path / rules.file).explain(Record("docs", "events", "", event.encode()))
    assert [name.name for name in told.names] == keys


# --- how documents are compared -------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a ... c\n", "a b c\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_dots_stand_for_any_text(shown: str, printed: str, same: bool) -> None:
    assert fits(shown, printed) is same


def test_a_line_of_a_log_is_found_among_others() -> None:
    assert appears('{..."event":"batch",...}', '{"x":1}\n{"t":1,"event":"batch","n":2}\n')
    assert not appears("batch", "a batch")
