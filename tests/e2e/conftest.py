"""Fixtures of the end-to-end tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.process import DaemonProcess

RunDaemon = Callable[..., DaemonProcess]

RULES = """\
version: 1
rules:
  - name: order-changed
    on: order.updated
    invalidate: {keys: ["order:single:{orderId}"]}
"""


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def run_daemon(rules_file: Path) -> Iterator[RunDaemon]:
    """`run_daemon(REDIS_URL=..., KAFKA__TOPICS=...)`: started; killed when the test is over."""
    with ExitStack() as stack:

        def run(*arguments: str, **settings: str) -> DaemonProcess:
            daemon = DaemonProcess({"RULES": str(rules_file)} | settings, *arguments)
            return stack.enter_context(closing(daemon))

        yield run
