"""The settings as a flat list of environment names."""

from collections.abc import Iterator, Mapping
from functools import cache, reduce
from typing import Any, Final, cast, get_args, get_origin

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from invalidator.settings.model import PREFIX, Settings
from invalidator.settings.values import Written

NAME: Final = "NAME"  # in a path: a name that the user chooses, in lower case


class Leaf(Struct, frozen=True):
    """One setting; or, if its path ends in NAME, one for each name that a user chooses."""

    path: tuple[str, ...]  # ("kafka", "topics")
    field: FieldInfo
    written: Written

    @property
    def name(self) -> str:
        return env_name(self.path)

    @property
    def open(self) -> bool:
        return self.path[-1] == NAME

    def called(self, name: str) -> "Leaf":
        """Return the setting for one name."""
        return replace(self, path=(*self.path[:-1], name.lower()))

    def names(self, settings: Settings) -> Mapping[str, object]:
        """Return the names that a user chose for it."""
        if not self.open:
            return {}
        found: Any = reduce(getattr, self.path[:-1], settings)
        return cast("Mapping[str, object]", found)

    def value(self, settings: Settings) -> object:
        found: object = settings
        for part in self.path:
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        return found


def env_name(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()


@cache
def leaves() -> dict[str, Leaf]:
    """Return all settings by environment name, in the order of declaration."""
    return {leaf.name: leaf for leaf in _walk(Settings, ())}


def leaf_of(name: str) -> Leaf | None:
    """Return the setting with this environment name."""
    group, _, last = name.rpartition("__")
    found = leaves().get(f"{group}__{NAME}")
    return found.called(last) if found and last else leaves().get(name)


def given(settings: Settings) -> Iterator[Leaf]:
    """Yield all settings, those of open groups with the names that are set."""
    for leaf in leaves().values():
        yield from map(leaf.called, leaf.names(settings))
        if not leaf.open:
            yield leaf


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Leaf]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, (*path, name))
        elif get_origin(kind) is dict:
            yield Leaf((*path, name, NAME), field, _written(get_args(kind)[1].__metadata__))
        else:
            yield Leaf((*path, name), field, _written(field.metadata))


def _written(metadata: Any) -> Written:
    return next(item for item in metadata if isinstance(item, Written))


class Described(Struct, frozen=True):
    """One setting, ready to be shown: passwords are masked."""

    name: str  # in the environment
    meaning: str
    default: str
    value: str
    origin: str  # "default", "environment", "command line", or a file name
    hidden: str = ""  # a secret file that has no effect, and why


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
            settings._hidden.get(leaf.name, ""),
        )
        for leaf in given(settings)
    ]


def _described(leaf: Leaf, value: str, origin: str, hidden: str = "") -> Described:
    meaning = leaf.field.description or ""
    return Described(leaf.name, meaning, _default(leaf), value, origin, hidden)


def _default(leaf: Leaf) -> str:
    if leaf.field.default is PydanticUndefined:  # the only computed default there is
        return "as INVALIDATOR_REDIS_URL"
    default = leaf.field.default
    return "" if isinstance(default, dict) else leaf.written.show(default)
