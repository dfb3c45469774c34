"""What unit tests share."""

import os

import pytest


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person at the keyboard has set must not decide a test."""
    for name in [name for name in os.environ if name.upper().startswith("INVALIDATOR_")]:
        monkeypatch.delenv(name)
