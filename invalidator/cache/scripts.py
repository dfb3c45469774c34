"""The Lua scripts: each works on one key, and each may be sent twice."""

from hashlib import sha1
from importlib.resources import files
from typing import Final

Command = tuple[str | bytes | int, ...]


class Script:
    """One script: calling it gives the command that runs it on a key."""

    def __init__(self, name: str) -> None:
        self.source = (files(__package__) / "scripts" / f"{name}.lua").read_bytes()
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest()
        _SOURCES[self.sha] = self.source

    def __call__(self, key: str, *arguments: str | bytes | int) -> Command:
        return ("EVALSHA", self.sha, 1, key, *arguments)


def with_source(command: Command) -> Command:
    """Return the command with its script's text, for a server that has not seen it yet."""
    if command[0] != "EVALSHA":
        return command
    return ("EVAL", _SOURCES[str(command[1])], *command[2:])


_SOURCES: dict[str, bytes] = {}

LEASE: Final = Script("lease")
PUT: Final = Script("put")
FINISH: Final = Script("finish")
REPLACE: Final = Script("replace")
RELEASE: Final = Script("release")
EXPIRE: Final = Script("expire")
STAMP: Final = Script("stamp")
VERSION: Final = Script("version")
BUMP: Final = Script("bump")

# What LEASE replies first.
HELD, GRANTED, CHANGED, FOREIGN = range(4)
# What PUT replies.
REFUSED, DONE, OLDER = range(3)
