"""What the protocol asks of its driver: each request has one answer, or raises."""

from collections.abc import Generator, Sequence
from typing import Any

from msgspec import Struct

from invalidator.cache.loading import Flight, Load
from invalidator.cache.scripts import Command

Found = Sequence[bytes | None]
Steps = Generator["Request", Any, Any]


class Get(Struct, frozen=True):
    """Read these keys, in any order; the answer is their values."""

    keys: Sequence[str]


class Send(Struct, frozen=True):
    """Run these commands, in any order; the answer is their replies."""

    commands: Sequence[Command]


class Call(Struct, frozen=True):
    """Call the loader; the answer is what it returns."""

    load: Load


class CallAlone(Struct, frozen=True):
    """Call the loader if not too many run without caching; the answer is what it returns."""


class CallMany(Struct, frozen=True):
    """Call the loader for several names; the answer maps names to values."""

    names: Sequence[str]
    alone: bool = False  # without caching: not too many at once


class Lead(Struct, frozen=True):
    """Take these steps for all who join; the answer is their outcome."""

    flight: Flight
    steps: Steps


class Join(Struct, frozen=True):
    """Wait for a load of this process; the answer is its outcome, or None after some seconds."""

    flight: Flight
    seconds: float


class Wait(Struct, frozen=True):
    """Wait until an entry's lease is another, or for some seconds."""

    key: str
    token: bytes
    seconds: float


class Background(Struct, frozen=True):
    """Take these steps later, for nobody."""

    steps: Steps


Request = Get | Send | Call | CallAlone | CallMany | Lead | Join | Wait | Background
