"""Report mistakes in the settings, each in one line that says what to write instead."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from invalidator.runtime.text import closest
from invalidator.runtime.urls import redact
from invalidator.settings.fields import NAME, Leaf, env_name, leaf_of, leaves
from invalidator.settings.model import PREFIX

if TYPE_CHECKING:
    from invalidator.settings.load import Layer

# Kubernetes sets these in every pod of a namespace with a Service named `invalidator` or
# `invalidator-something`. The port is a URL there, unlike a mistyped ADMIN__PORT.
_SERVICE = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")

_LONG = 100  # characters of a wrong value that are shown


def misnamed(layer: "Layer") -> Iterator[str]:
    """Yield a message for each name that is not a setting, or not allowed in this source."""
    for name, value in layer.values.items():
        where = f"{name} ({layer.origin(name)})"
        if name in _groups():
            yield f"{where}: is a group of settings; set one of {_groups()[name]}"
        elif leaf_of(name):
            if name in layer.refused:
                yield f"{where}: can only be set in the environment or on the command line"
        elif not (_from_kubernetes(name, value) or _foreign(layer, name)):
            yield f"{where}: no such setting{_hint(name)}"


def wrong_values(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    """Return a message for each value that is not valid."""
    return [line for details in error.errors() if (line := _wrong(details, origins))]


def _wrong(details: ErrorDetails, origins: Mapping[str, str]) -> str | None:
    leaf = _leaf_at(tuple(str(part) for part in details["loc"]))
    reason = str(details.get("ctx", {}).get("error", details["msg"]))
    if leaf is None:  # a check across a group; a group set as one text is `misnamed`
        return reason if details["type"] == "value_error" else None
    if details["type"] == "default_factory_not_called":  # a consequence of another mistake
        return None
    if isinstance(details["input"], dict):  # a name with `__` in it is `misnamed`
        return None
    origin = origins.get(leaf.name, "default")
    return f"{leaf.name} ({origin}): found {_shown(leaf, details['input'])}, expected {reason}"


def _leaf_at(place: tuple[str, ...]) -> Leaf | None:
    """Return the setting at that place or around it; None for a check across a group."""
    around = (leaf_of(env_name(place[:depth])) for depth in range(len(place), 0, -1))
    return next(filter(None, around), None)


def _shown(leaf: Leaf, value: object) -> str:
    if leaf.written.secret:
        return redact(value) if isinstance(value, str) else "***"
    text = str(value)
    return f'"{text[:_LONG]}…"' if len(text) > _LONG else f'"{text}"'


def _foreign(layer: "Layer", name: str) -> bool:
    """Return true for a secret file of another program: no prefix, and no similar setting."""
    file = layer.files.get(name, "")
    bare = file and not file.rpartition("/")[2].upper().startswith(PREFIX)
    grouped = name.startswith(tuple(f"{group}__" for group in _groups()))
    common = name.removeprefix(PREFIX) == "TOKEN"  # the token of a Kubernetes service account
    return bool(bare) and not grouped and (common or _nearest(name, 0.8) is None)


def _from_kubernetes(name: str, value: str) -> bool:
    if name.endswith("_PORT") and _SERVICE_URL.match(value):
        return True
    return _SERVICE.fullmatch(name) is not None


def _hint(name: str) -> str:
    near = _nearest(name, 0.6)
    return f"; did you mean {near}?" if near else "; `invalidator settings` lists them all"


def _groups() -> dict[str, str]:
    """Return the settings of each group, by the name that the group itself would have."""
    groups: dict[str, list[str]] = {}
    for leaf in leaves().values():
        for depth in range(1, len(leaf.path)):
            groups.setdefault(env_name(leaf.path[:depth]), []).append(leaf.name)
    return {group: ", ".join(names) for group, names in groups.items()}


def _nearest(name: str, cutoff: float) -> str | None:
    """Compare without the prefix, which would make all names similar."""
    bare = name.removeprefix(PREFIX)
    if opened := _in_open_group(bare):
        return opened
    if inner := [leaf for leaf in leaves() if leaf.endswith(f"__{bare}")]:
        return inner[0]  # only the group is missing
    known = {leaf.removeprefix(PREFIX): leaf for leaf in leaves()}
    near = closest(bare, known, cutoff)
    return known[near] if near else None


def _in_open_group(bare: str) -> str | None:
    """Return the name in the group CACHES for `CACHE__ORDERS` and `CACHES_ORDERS`."""
    group, _, name = bare.partition("_")
    groups = {leaf.path[0].upper(): leaf for leaf in leaves().values() if leaf.path[1:] == (NAME,)}
    near = closest(group, groups, 0.85)
    name = re.sub("_+", "_", name.strip("_"))
    return groups[near].called(name).name if near and name else None
