"""Merge the sources of settings, and report all mistakes in them together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from invalidator.errors import ConfigError
from invalidator.settings.fields import env_name, leaf_of, leaves
from invalidator.settings.mistakes import misnamed, wrong_values
from invalidator.settings.model import Settings
from invalidator.settings.sources import (
    ENV_FILE,
    SECRETS_DIR,
    Layer,
    environment,
    from_env_file,
    from_secrets,
)


def load(
    env_file: str | Path | None = None, secrets_dir: str | Path | None = None, **overrides: Any
) -> Settings:
    """Return the settings in force, or raise ConfigError with all mistakes.

    Overrides take precedence over every other source. They are named as fields, with `__` between
    group and field (`admin__port=0`); None means not given.
    """
    given = _given(overrides | {"env_file": env_file, "secrets_dir": secrets_dir})
    layers = [Layer("command line", given), environment()]
    env = from_env_file(_first(layers, ENV_FILE))
    secrets = from_secrets(_secrets_dir([*layers, env]))
    layers += [env, secrets]
    mistakes = [m for layer in layers for m in (*layer.mistakes, *misnamed(layer))]
    if any(layer.mistakes for layer in layers):
        # Values that could not be read would look missing to the checks that follow.
        raise ConfigError("\n".join(mistakes))
    origins = {name: layer.origin(name) for layer in reversed(layers) for name in layer.values}
    try:
        settings = _build(env.path, secrets.path, _nested(given))
    except ValidationError as error:
        # Not chained: pydantic's error holds the values, secrets among them.
        raise ConfigError("\n".join(mistakes + wrong_values(error, origins))) from None
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    settings._origins.update(origins)
    return settings


def _build(env_file: Path | None, secrets_dir: Path | None, given: dict[str, Any]) -> Settings:
    build: Callable[..., Settings] = Settings  # type checkers do not know its arguments
    return build(_env_file=env_file, _secrets_dir=secrets_dir, **given)


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    given = {env_name(tuple(n.split("__"))): v for n, v in overrides.items() if v is not None}
    if unknown := [name for name in given if leaf_of(name) is None]:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    return given


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in given.items():
        leaf = leaf_of(name)
        assert leaf, "_given knows them all"
        *groups, last = leaf.path
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return nested


def _first(layers: list[Layer], name: str) -> Path | None:
    """Return the path in the sources; an empty one is reported with the other values."""
    text = next((layer.values[name] for layer in layers if name in layer.values), None)
    return Path(text) if text else None


def _secrets_dir(layers: list[Layer]) -> Path | None:
    """Return the configured directory, which must exist, or the default one if it exists."""
    default: Path = leaves()[SECRETS_DIR].field.default
    return _first(layers, SECRETS_DIR) or (default if default.is_dir() else None)
