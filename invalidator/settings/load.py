"""Merge the sources of settings, and report all mistakes in them together.

The values reach `Settings` through pydantic-settings. What it would ignore silently (a missing env
file, a line it cannot parse, an unreadable secret) is found here, with its origin.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from msgspec import Struct, field
from pydantic import ValidationError
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

from invalidator.errors import ConfigError
from invalidator.settings.fields import env_name, leaf_of, leaves
from invalidator.settings.mistakes import misnamed, wrong_values
from invalidator.settings.model import PREFIX, Settings

ENV_FILE, SECRETS_DIR = f"{PREFIX}ENV_FILE", f"{PREFIX}SECRETS_DIR"


class Layer(Struct, frozen=True):
    """The content of one source."""

    label: str  # for a person: "environment", "env file prod.env"
    values: dict[str, Any] = field(default_factory=dict)  # by environment name
    path: Path | None = None  # for `Settings` to read; None: none, or unreadable
    files: dict[str, str] = field(default_factory=dict)  # the file of each, if each has one
    mistakes: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()  # settings that are not allowed in this source

    def origin(self, name: str) -> str:
        return f"{self.label} {self.files[name]}" if name in self.files else self.label


def environment() -> Layer:
    return Layer("environment", _ours(EnvSettingsSource(Settings)))


def from_env_file(path: Path | None) -> Layer:
    label = f"env file {path}"
    if path is None:
        return Layer(label)
    if path.exists() and not path.is_file():  # such as a pipe, which can be read only once
        return Layer(label, mistakes=(f"{label}: is not a regular file",))
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        return Layer(label, mistakes=(f"{label}: cannot be read: {_reason(error)}",))
    if unreadable := _unreadable_lines(label, bindings):
        return Layer(label, mistakes=tuple(unreadable))
    values = _ours(DotEnvSettingsSource(Settings, env_file=path))
    return Layer(label, values, path=path, refused=frozenset({ENV_FILE}))


def from_secrets(directory: Path | None) -> Layer:
    if directory is None:
        return Layer("secret file")
    if not directory.is_dir():
        return Layer("secret file", mistakes=(f"secrets in {directory}: no such directory",))
    try:
        inner = SecretsSettingsSource(Settings, secrets_dir=directory)
        found = NestedSecretsSettingsSource(inner).env_vars
        files = [f for f in sorted(directory.iterdir()) if f.is_file() and f.name[0] != "."]
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        reason = f"secrets in {directory}: cannot be read: {_reason(error)}"
        return Layer("secret file", mistakes=(reason,))
    read = [file for file in files if file.name.lower() in found]
    return Layer(
        "secret file",
        {_prefixed(file.name): found[file.name.lower()] for file in read},
        path=directory,
        files={_prefixed(file.name): str(file) for file in read},
        mistakes=(*_skipped(files, read), *_doubled(read)),
        refused=frozenset({ENV_FILE, SECRETS_DIR}),
    )


def _ours(source: EnvSettingsSource) -> dict[str, Any]:
    return {
        name.upper(): value
        for name, value in source.env_vars.items()
        if name.upper().startswith(PREFIX) and value is not None
    }


def _unreadable_lines(label: str, bindings: list[Binding]) -> list[str]:
    """Return messages without the lines themselves, which may contain a password."""
    return [
        f"{label}, line {_line(binding)}: expected NAME=value"
        for binding in bindings
        if binding.error or (binding.value is None and _is_ours(binding.key or ""))
    ]


def _line(binding: Binding) -> int:
    """Return the line number; the parser counts empty lines before a binding as part of it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _prefixed(file: str) -> str:
    return file.upper() if _is_ours(file) else PREFIX + file.upper()


def _skipped(files: list[Path], read: list[Path]) -> list[str]:
    """Report files that pydantic-settings ignores: links that lead out of the directory."""
    return [
        f"secret file {file}: is a link that leads out of {file.parent}, so it is not read"
        for file in files
        if file not in read
    ]


def _doubled(read: list[Path]) -> list[str]:
    first: dict[str, Path] = {}
    return [
        f"secret file {file}: gives the same setting as {first[name]}; keep one of them"
        for file in read
        if first.setdefault(name := _prefixed(file.name), file) is not file
    ]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


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
    settings._hidden.update(_hidden(secrets, layers[1:3]))
    return settings


def _hidden(secrets: Layer, over: list[Layer]) -> dict[str, str]:
    """Return what is wrong with each secret file that has no effect, by the setting's name."""
    return {
        name: f"{secrets.origin(name)} has no effect: {layer.label} takes precedence"
        for layer in reversed(over)
        for name in secrets.values.keys() & layer.values.keys()
    }


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
