"""The examples of "Where to add" work: each in its file of a copy, registered by its one line."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.pages import HOUSE, TOP, Page

_HEAD = re.compile(r"# (invalidator/\S+?\.py)(?:, (in|before) (\w+))?\n")
WITHIN = 60.0  # seconds

RULES = """\
rules:
  - {name: order, on: order.updated, invalidate: {keys: "page:{title|slug}"}}
tests:
  - event: {type: order.updated, data: {title: "Hello, World"}}
    expect: {keys: "page:hello-world"}
"""


class Copy:
    """The package with what the page adds under some headings."""

    def __init__(self, folder: Path, section: str) -> None:
        self._folder = folder
        shutil.copytree(HOUSE, folder / HOUSE.name, ignore=shutil.ignore_patterns("__pycache__"))
        page = Page(TOP / "docs" / "architecture.md")
        blocks = [block for block in page.blocks if block.section == section]
        assert blocks
        for block in blocks:
            self._add(block.text)

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder,
            env={"PYTHONPATH": str(self._folder), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=WITHIN,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def _add(self, text: str) -> None:
        head = _HEAD.match(text)
        assert head, text
        path, how, name = self._folder / head[1], head[2], head[3]
        added = text[head.end() :]
        if how is None:
            assert not path.exists()
            path.write_text(text)
            return
        before = path.read_text()
        if how == "before":
            after = re.sub(
                rf"^{name}\b", lambda f: f"{added}\n\n{f[0]}", before, count=1, flags=re.M
            )
        elif f"\nclass {name}(" in before:
            at = before.index("\n    rules: ", before.index(f"\nclass {name}("))
            after = f"{before[:at]}\n    {added.rstrip()}{before[at:]}"
        else:
            line = f"\n    {added.rstrip()}\n"
            assert added.count("\n") == 1, "a registration is one line"
            after = re.sub(
                rf"^{name}\b.*?= [({{]", lambda f: f[0] + line, before, count=1, flags=re.M
            )
        assert after != before, f"{path} has no {name}"
        path.write_text(after)


def test_a_source_keeps_the_basics_of_the_contract(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "A source")
    (tmp_path / "script.py").write_text(SOURCE)
    copy.run("script.py")


SOURCE = """
import asyncio
from pathlib import Path
from invalidator.runtime.health import Health
from invalidator.settings import load
from invalidator.sources.build import sources_of
from invalidator.sources.reread import UNWATCHED

path = Path("events.txt")

def publish(*values):
    with path.open("ab") as file:
        file.writelines(value + b"\\n" for value in values)

def source():
    (found,) = sources_of(load(lines="events.txt"), Health(), UNWATCHED)
    return found

def raws(batch):
    return [value for part in batch.slices for value in part.values]

async def main():
    publish(b"1", b"2", b"3", b"4")
    first = source()
    await first.open()
    batch = await first.read(2)
    assert raws(batch) == [b"1", b"2"] and batch.events == 2 and batch.size == 2
    await first.settle(batch)
    late = await first.read(1)
    assert raws(late) == [b"3"]
    first.pause(frozenset([late.slices[0].origin]))
    await first.settle(late)  # read before the pause: it does not count
    assert await first.read(9) is None
    first.pause(frozenset())
    assert raws(await first.read(9)) == [b"3", b"4"]
    assert await first.read(9) is None
    await first.close()
    second = source()
    await second.open()
    batch = await second.read(9)
    assert raws(batch) == [b"3", b"4"]
    record = batch.slices[0].record(1)
    assert (record.source, record.raw) == ("lines", b"4")
    await second.settle(batch)
    await second.stop()
    assert await second.read(9) is None
    await second.close()

asyncio.run(main())
"""


@pytest.fixture
def purged() -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server, and what it was sent. The first request fails."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(503 if len(paths) == 1 else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", paths
        server.shutdown()
        thread.join()


def test_a_target_forgets_what_the_caches_forgot(
    tmp_path: Path, purged: tuple[str, list[str]]
) -> None:
    copy = Copy(tmp_path, "A target")
    (tmp_path / "script.py").write_text(TARGET)
    url, paths = purged
    copy.run("script.py", url)
    assert paths == ["/purge?url=https%3A%2F%2Fwww.example.com%2Fa"] * 2


TARGET = """
import asyncio
import sys
from invalidator.model import Cause, Names, Outcome
from invalidator.rules.rule import Cache
from invalidator.runtime.health import Health
from invalidator.settings import load
from invalidator.targets.build import store_of
from invalidator.targets.redis.host import Host

applied = []

async def apply(host, cache, names, cause):  # no Redis is needed to see what follows it
    applied.append(names.tags)
    return Outcome(existed=2)

async def main():
    Host.apply = apply
    store = store_of(load(edge__urls__pages=sys.argv[1]), Health())
    names = {"default": Names(tags={"t"}), "pages": Names({"https://www.example.com/a"})}
    caches = {"default": Cache(), "pages": Cache("pages", target="bunny")}
    outcome = await store.application(names, caches, Cause("test")).apply_names()
    assert (outcome.existed, applied) == (2, [{"t"}])
    (ticket,) = outcome.sweeps
    assert await ticket.wait() == []
    await store.close()

asyncio.run(main())
"""


def test_a_verb_is_listed_explained_and_run(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "A verb")
    (tmp_path / "rules.yaml").write_text(RULES.replace("|slug", ""))
    assert "list the event types that your rules are for" in copy.run("-m", "invalidator", "--help")
    assert "Lists the event types" in copy.run("-m", "invalidator", "types", "--help")
    assert copy.run("-m", "invalidator", "types", "rules.yaml") == "order.updated\n"


def test_a_filter_renders_in_a_template(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "A filter")
    (tmp_path / "rules.yaml").write_text(RULES)
    copy.run("-m", "invalidator", "test", "rules.yaml")
    event = '{"type": "order.updated", "data": {"title": "..."}}'
    said = copy.run("-m", "invalidator", "explain", event, "--rules", "rules.yaml", status=1)
    assert "title is empty after its filters" in said
