"""What each setting is, and where its value came from: for `invalidator settings` and the docs."""

from dataclasses import dataclass

from pydantic_core import PydanticUndefined

from invalidator.settings.fields import Leaf, leaves
from invalidator.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Described:
    """One setting, fit to be shown: passwords are masked."""

    name: str  # as it is written in the environment
    meaning: str
    default: str
    value: str
    origin: str  # "default", "environment", "command line", or the file's name


def describe(settings: Settings) -> list[Described]:
    return [_described(name, leaf, settings) for name, leaf in leaves().items()]


def _described(name: str, leaf: Leaf, settings: Settings) -> Described:
    return Described(
        name=name,
        meaning=leaf.field.description or "",
        default=_default(leaf),
        value=leaf.written.show(leaf.value(settings)),
        origin=settings._origins.get(name, "default"),
    )


def _default(leaf: Leaf) -> str:
    if leaf.field.default is PydanticUndefined:  # the only computed default there is
        return "as INVALIDATOR_REDIS_URL"
    return leaf.written.show(leaf.field.default)
