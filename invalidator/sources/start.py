"""The position at which reading begins."""

from typing import Literal

from msgspec import Struct


class Start(Struct, frozen=True):
    """The position at which a group without one begins."""

    at: Literal["latest", "earliest", "ago"]
    seconds: float = 0.0  # how far back, for "ago"

    @classmethod
    def of(cls, setting: str | float) -> "Start":
        """Return the start for a setting: a word, or seconds below zero."""
        match setting:
            case "latest" | "earliest":
                return cls(setting)
            case _:
                return cls("ago", -float(setting))
