"""Describe each setting and its origin, for `invalidator settings` and the docs."""

from msgspec import Struct
from pydantic_core import PydanticUndefined

from invalidator.settings.fields import Leaf, given, leaves
from invalidator.settings.model import Settings


class Described(Struct, frozen=True):
    """One setting, ready to be shown: passwords are masked."""

    name: str  # in the environment
    meaning: str
    default: str
    value: str
    origin: str  # "default", "environment", "command line", or a file name


def defaults() -> list[Described]:
    """Return every setting with its default."""
    return [_described(leaf, _default(leaf), "default") for leaf in leaves().values()]


def describe(settings: Settings) -> list[Described]:
    """Return every setting as it is in force."""
    return [
        _described(
            leaf,
            leaf.written.show(leaf.value(settings)),
            settings._origins.get(leaf.name, "default"),
        )
        for leaf in given(settings)
    ]


def _described(leaf: Leaf, value: str, origin: str) -> Described:
    meaning = leaf.field.description or ""
    return Described(leaf.name, meaning, _default(leaf), value, origin)


def _default(leaf: Leaf) -> str:
    if leaf.field.default is PydanticUndefined:  # the only computed default there is
        return "as INVALIDATOR_REDIS_URL"
    return leaf.written.show(leaf.field.default)
