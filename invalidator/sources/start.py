"""Where reading begins."""

from typing import Literal

from msgspec import Struct


class Start(Struct, frozen=True):
    """Where a group without a position begins."""

    at: Literal["latest", "earliest", "ago"]
    seconds: float = 0.0  # how far back, for "ago"

    @classmethod
    def of(cls, setting: str | float) -> "Start":
        """From the setting: a word, or seconds below zero."""
        match setting:
            case "latest" | "earliest":
                return cls(setting)
            case _:
                return cls("ago", -float(setting))
