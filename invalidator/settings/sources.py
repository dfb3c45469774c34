"""Find which names each source sets, so that a mistake can be reported with its origin.

The values themselves reach `Settings` through pydantic-settings. What it would ignore silently (a
missing env file, a line it cannot parse, an unreadable secret) is found here.
"""

from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from msgspec import Struct, field
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

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
