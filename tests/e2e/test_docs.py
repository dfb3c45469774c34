"""Every command of the documents runs against real servers, and prints what they show."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.backends import until_sync
from tests.backends.choose import missing
from tests.backends.kafka_client import Kafka, unique
from tests.backends.server import free_port
from tests.e2e.process import clean_environment
from tests.pages import TOP, Block, Page, appears, fits, pages

WITHIN = 120.0  # seconds for a command; on a busy machine a start alone takes ten
SOON = 60.0  # seconds until what is shown must be printed
# The section that makes what others of its page are about.
FIRST = {"docs/dead-letters.md": "Try it", "docs/sources.md": "By hand"}
RUN = [page for page in pages() if any(block.typed for block in page.shells())]
LONG = {f"docs/{name}.md" for name in ("admin", "dead-letters", "operations", "sources")}


class Reader:
    """Somebody who types what a page says, in a folder of their own."""

    def __init__(self, folder: Path, redis_url: str, bootstrap: str, topic: str) -> None:
        self._folder = folder
        self._port, events_port = free_port(), free_port()
        self._addresses = {
            "redis://127.0.0.1:6379/0": redis_url,
            "127.0.0.1:9092": bootstrap,
            "127.0.0.1:8080": f"127.0.0.1:{self._port}",
            "127.0.0.1:8081": f"127.0.0.1:{events_port}",
            "domain-events": topic,
        }
        # What a page leaves to the defaults; its own exports come on top.
        settings = {
            "REDIS_URL": redis_url,
            "ADMIN__PORT": str(self._port),
            "HTTP__PORT": str(events_port),
            "KAFKA__GROUP_ID": unique("docs"),
        }
        path = f"{self._programs(redis_url)}{os.pathsep}{os.environ['PATH']}"
        self._environment = clean_environment(settings) | {"PATH": path}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._log = folder / "daemon.log"

    def follow(self, page: Page) -> None:
        first = FIRST.get(page.name)
        for block in sorted(page.blocks, key=lambda block: block.section != first):
            if block.file:
                (self._folder / block.file).write_text(self._mine(block.text))
            elif block.language == "text" and "log" in block.marks:
                self._look_at_log(block)
            elif block.typed:
                self._type(block)

    def stop_daemon(self) -> None:
        if self._daemon is None:
            return
        os.killpg(self._daemon.pid, signal.SIGTERM)
        code = self._daemon.wait(WITHIN)
        self._daemon = None
        assert code == 0, self._log.read_text()

    def kill(self) -> None:
        if self._daemon is not None:
            os.killpg(self._daemon.pid, signal.SIGKILL)
            self._daemon.wait()

    def _type(self, block: Block) -> None:
        if "daemon" in block.marks:
            self._start_daemon(block)
            return
        printed = self._printed(block)
        if block.shown is None:
            return
        shown = self._mine(block.shown)
        deadline = time.monotonic() + SOON if "soon" in block.marks else 0
        while not fits(shown, printed) and time.monotonic() < deadline:
            printed = self._printed(block)
        assert fits(shown, printed), f"{block.place} shows\n{shown}\nand prints\n{printed}"

    def _printed(self, block: Block) -> str:
        done = subprocess.run(
            self._bash(block),
            cwd=self._folder,
            env=self._environment,
            input="yes\n",  # to whoever asks
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN,
        )
        assert done.returncode == 0, f"{block.place}\n{done.stdout}"
        return done.stdout

    def _start_daemon(self, block: Block) -> None:
        self.stop_daemon()
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                self._bash(block),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the signal that ends it is for the daemon, too
            )
        until_sync(self._ready, WITHIN, f"{block.place} is ready")

    def _ready(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2) as got:
                return bool(got.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def _look_at_log(self, block: Block) -> None:
        wanted = self._mine(block.text)
        until_sync(lambda: appears(wanted, self._log.read_text()), what=f"{block.place} in the log")

    def _bash(self, block: Block) -> list[str]:
        # bash outlives a signal that it traps, and gives the daemon's exit code
        return ["bash", "-euo", "pipefail", "-c", f"trap : TERM\n{self._mine(block.text)}"]

    def _mine(self, text: str) -> str:
        for documented, own in self._addresses.items():
            text = text.replace(documented, own)
        return text

    def _programs(self, redis_url: str) -> Path:
        """Make programs of this code, and a redis-cli that knows the test's Redis."""
        folder = self._folder / "bin"
        folder.mkdir()
        beside = str(Path(sys.executable).parent)
        cli = shutil.which("redis-cli") or shutil.which("redis-cli", path=beside)
        if cli is None or shutil.which("curl") is None:
            missing("the documents call redis-cli and curl: install redis-tools and curl")
        calls: Mapping[str, str] = {
            "invalidator": f"PYTHONPATH={TOP} exec {sys.executable} -m invalidator",
            "python": f"exec {sys.executable}",
            # as a terminal shows it
            "redis-cli": f"exec {cli} --no-raw -u {redis_url}",
        }
        for name, call in calls.items():
            program = folder / name
            program.write_text(f'#!/bin/sh\n{call} "$@"\n')
            program.chmod(0o755)
        return folder


@pytest.fixture
def reader(tmp_path: Path, redis_url: str, kafka: Kafka) -> Iterator[Reader]:
    made = Reader(tmp_path, redis_url, kafka.bootstrap, kafka.topic())
    yield made
    made.kill()


def _param(page: Page) -> object:
    marks = [pytest.mark.slow] if page.name in LONG else []
    return pytest.param(page, id=page.name, marks=marks)


@pytest.mark.parametrize("page", [_param(page) for page in RUN])
def test_the_commands_of_a_page_do_what_it_shows(
    page: Page, reader: Reader, allow_keys: Callable[..., None]
) -> None:
    allow_keys("invalidator:dead", "invalidator:purges")
    reader.follow(page)
    reader.stop_daemon()


def test_the_first_pages_are_among_those_that_run() -> None:
    names = {page.name for page in RUN}
    assert {"README.md", "docs/getting-started.md"} <= names - LONG
    assert names >= LONG
