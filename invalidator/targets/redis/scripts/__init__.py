"""The Lua scripts that run on a cache's Redis."""

from importlib.resources import files

from invalidator.redisclient.server import Script


def load(name: str) -> Script:
    """Return the script of that name."""
    return Script.of(name, files(__name__).joinpath(f"{name}.lua").read_bytes())
