"""The backplane: what was applied, announced on a channel of the cache's Redis.

docs/backplane.md says what a listener reads there and how it knows that it missed something.
"""

from invalidator.targets.redis.announce import Announcer, When
from invalidator.targets.redis.messages import Message, Sender, parse

__all__ = ["Announcer", "Message", "Sender", "When", "parse"]
