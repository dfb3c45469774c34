"""The settings as a flat list of environment names."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from invalidator.settings.model import PREFIX, Settings
from invalidator.settings.values import Written


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting."""

    path: tuple[str, ...]  # ("kafka", "topics")
    field: FieldInfo

    @property
    def name(self) -> str:
        return env_name(self.path)

    @property
    def written(self) -> Written:
        return next(item for item in self.field.metadata if isinstance(item, Written))

    def value(self, settings: Settings) -> object:
        found: object = settings
        for part in self.path:
            found = getattr(found, part)
        return found


def env_name(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()


@cache
def leaves() -> dict[str, Leaf]:
    """All settings by environment name, in the order in which they are declared."""
    return {leaf.name: leaf for leaf in _walk(Settings, ())}


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Leaf]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, (*path, name))
        else:
            yield Leaf((*path, name), field)
