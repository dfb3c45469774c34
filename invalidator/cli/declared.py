"""The cached functions of a service, which is imported for it."""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from invalidator.cli.common import UsageError
from invalidator.templates.declared import Declared


def declared_by(name: str) -> Sequence[Declared]:
    """Return the templates of a cache; its module imports all functions that use it."""
    module, separator, path = name.partition(":")
    if not (module and separator and path):
        raise UsageError(f"--cache takes MODULE:OBJECT, such as shop.data:cache, found {name!r}")
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found: object = importlib.import_module(module)
        for step in path.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--cache {name}: cannot be imported: {error}") from error
    finally:
        sys.path.pop(0)
    declared = getattr(found, "declared", None)
    if not isinstance(declared, list):
        raise UsageError(f"--cache {name}: is a {type(found).__name__}, not a Cache or SyncCache")
    if not declared:
        raise UsageError(f"--cache {name}: {module} decorates no function with it")
    return [replace(each, file=_shown(each.file)) for each in declared]


def _shown(file: str) -> str:
    """Return the path from here, as annotations in a pull request need it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
