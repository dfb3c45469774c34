"""Describe what a cached function depends on: noted by the read side, compared with rules."""

from msgspec import Struct


class Declared(Struct, frozen=True):
    """The templates of one cached function."""

    function: str
    file: str
    line: int
    prefix: str  # before the key
    key: str
    tags: tuple[str, ...]
    versions: tuple[str, ...]
    stamp: str  # the Redis key of a tag's stamp, with {tag}
    version: str  # the Redis key of a version, with {name}
