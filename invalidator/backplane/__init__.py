"""The backplane: what was applied, announced on a channel of the cache's Redis.

docs/backplane.md says what a listener reads there and how it knows that it missed something.
"""

from invalidator.backplane.announcer import Announcer, When
from invalidator.backplane.message import Message, Sender, parse

__all__ = ["Announcer", "Message", "Sender", "When", "parse"]
