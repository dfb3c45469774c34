"""Kinds of data: the table of lifetimes, in code or in a TOML file."""

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, convert

from invalidator.cache.errors import CacheError

Time = str | float | int  # "10m", "500ms" or seconds
Size = str | int  # "1MiB" or bytes

_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"(\d+)\s*(B|KiB|MiB)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}
MAX_SCHEMA: Final = 9999
LONGEST: Final = 36_500 * 86_400  # seconds: an entry writes times in 13 digits


class Policy(Struct, frozen=True, dict=True):
    """What holds for an entry, in numbers."""

    ttl: float = 300.0  # seconds for which a value is fresh
    jitter: float = 0.1  # share of ttl that is taken away at random
    swr: float = 0.0  # seconds: served stale while one process refreshes it
    stale_if_error: float = 0.0  # seconds: served stale when the load fails
    stale_on: tuple[type[Exception], ...] = (Exception,)  # by which errors
    early: float = 1.0  # XFetch's beta: refreshed before it expires; 0: never
    negative_ttl: float = 30.0  # seconds for which "there is none" is remembered; 0: not at all
    lease: float = 10.0  # seconds: then another process may load
    wait: float = 15.0  # seconds: then a reader loads for itself
    cooldown: float = 1.0  # seconds without another attempt after a failed load
    max_bytes: int = 1024 * 1024  # larger entries are not cached
    compress_from: int = 2048  # bytes; 0: never
    schema: bytes = b"0000"  # an entry of another schema is a miss
    background: bool = False  # refresh in the background: the loader needs nothing of a request
    l1_ttl: float = 10.0  # seconds for which L1 keeps a copy, where there is an L1; 0: not at all
    share: bool = False  # readers of a copy share one object: nobody changes it

    @cached_property
    def kept(self) -> float:
        """Return the seconds for which a value is kept after it is no longer fresh."""
        return max(self.swr, self.stale_if_error)

    @cached_property
    def stamp_ms(self) -> int:
        """Return how long a stamp lives: longer than any entry that carries it."""
        return int(2000 * (self.ttl + self.kept))


class Kind(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table. A field that is left out is that of the default kind."""

    ttl: Time | None = None
    jitter: float | None = None
    swr: Time | None = None
    stale_if_error: Time | None = None
    stale_on: tuple[type[Exception], ...] | None = None
    early: float | None = None
    negative_ttl: Time | None = None
    lease: Time | None = None
    wait: Time | None = None
    cooldown: Time | None = None
    max_bytes: Size | None = None
    compress_from: Size | None = None
    schema: int | None = None
    background: bool | None = None
    l1_ttl: Time | None = None
    share: bool | None = None

    def over(self, base: Policy) -> Policy:
        """Return the policy in which this kind's fields stand over those of another."""
        changes: dict[str, object] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                changes[name] = _READ[name](value) if name in _READ else value
        made = msgspec.structs.replace(base, **changes)
        _check(made)
        return made


class Kinds:
    """All kinds of a service; `default` is what the others are built on."""

    def __init__(self, default: Kind | None = None, **kinds: Kind) -> None:
        base = (default or Kind()).over(Policy())
        self._policies = {"default": base}
        for name, kind in kinds.items():
            self._policies[name] = kind.over(base)

    @classmethod
    def load(cls, path: str | Path) -> "Kinds":
        """Read a TOML file: one table a kind."""
        rows: Mapping[str, object] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        try:
            return cls(**{name: _kind(name, row) for name, row in rows.items()})
        except CacheError as error:
            raise CacheError(f"{path}: {error}") from None

    def policy(self, kind: str | Kind) -> Policy:
        """Return the policy of a kind, by its name or by itself."""
        if isinstance(kind, Kind):
            return kind.over(self._policies["default"])
        if kind not in self._policies:
            known = ", ".join(sorted(self._policies))
            raise CacheError(f"no kind is called {kind!r}; there are: {known}")
        return self._policies[kind]


def _kind(name: str, row: object) -> Kind:
    if isinstance(row, dict) and "stale_on" in row:
        raise CacheError(f"{name}: stale_on names classes, which only code can do")
    try:
        return convert(row, Kind)
    except msgspec.ValidationError as error:
        raise CacheError(f"{name}: {error}") from None


def seconds(value: Time) -> float:
    """Return a time in seconds."""
    if isinstance(value, (int, float)):
        found = float(value)
    elif written := _TIME.fullmatch(value):
        found = float(written[1]) * _SECONDS[written[2]]
    else:
        raise CacheError(f"{value!r} is no time: write 500ms, 30s, 10m, 24h or 7d")
    if not found <= LONGEST:
        raise CacheError(f"{value!r} is no time: at most 36500d, a hundred years")
    return found


def size(value: Size) -> int:
    """Return a size in bytes."""
    if isinstance(value, int):
        return value
    found = _SIZE.fullmatch(value)
    if not found:
        raise CacheError(f"{value!r} is no size: write 512B, 2KiB or 1MiB")
    return int(found[1]) * _BYTES[found[2]]


def _schema(number: int) -> bytes:
    if not 0 <= number <= MAX_SCHEMA:
        raise CacheError(f"a schema is a number from 0 to {MAX_SCHEMA}, not {number}")
    return b"%04d" % number


def _check(policy: Policy) -> None:
    if policy.ttl <= 0:
        raise CacheError("a ttl is more than 0: every entry has one")
    if policy.lease <= 0 or policy.wait <= 0:
        raise CacheError("lease and wait are more than 0")
    if not 0 <= policy.jitter < 1:
        raise CacheError("jitter is a share of the ttl, from 0 to below 1")


_TIMES: Final = (
    *("ttl", "swr", "stale_if_error", "negative_ttl", "lease", "wait", "cooldown", "l1_ttl"),
)
_READ: Final = {
    **dict.fromkeys(_TIMES, seconds),
    "max_bytes": size,
    "compress_from": size,
    "schema": _schema,
}
