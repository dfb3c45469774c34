"""Real servers for tests, and how to wait for things without sleeping."""

from tests.backends.waiting import until, until_sync

__all__ = ["until", "until_sync"]
