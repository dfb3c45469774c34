"""What unit tests share."""

import os
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person at the keyboard has set must not decide a test."""
    for name in [name for name in os.environ if name.upper().startswith("INVALIDATOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A verb that ran in this process has set what is logged."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
