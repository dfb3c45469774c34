"""Where reading begins."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Start:
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
