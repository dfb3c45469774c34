"""All settings, and the only place that reads the environment.

Sources by precedence: the command line, the environment, an env file, mounted secret files, the
defaults. A secret file holds one value and is named after the setting, with or without the prefix,
in upper or lower case: `redis_url`, `INVALIDATOR_REDIS_URL` and `admin__port` all work.
"""

from invalidator.settings.fields import Described, defaults, describe
from invalidator.settings.load import load
from invalidator.settings.model import Log, Settings

__all__ = ["Described", "Log", "Settings", "defaults", "describe", "load"]
