"""Builds the sources from the settings."""

from importlib import import_module
from typing import Final

from invalidator.redisclient import Client, client
from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.sources.reread import Servers
from invalidator.sources.source import Source

SOURCES: Final = ("http", "kafka", "pubsub", "stream")  # modules of sources/


def sources_of(settings: Settings, health: Health, servers: Servers) -> list[Source]:
    """Return a source for each kind that the settings ask to read.

    `servers` are those of the caches.
    """
    built = [
        import_module(f"invalidator.sources.{name}").build(settings, health, servers)
        for name in SOURCES
    ]
    return [source for source in built if source]


def state_redis(settings: Settings) -> Client:
    """Return a client of the Redis with the state."""
    url = settings.state_url.get_secret_value()
    return client(url, settings.redis_timeout, settings.redis_tls.options())


def source_redis(settings: Settings) -> Client:
    """Return a client of the Redis with the channels and streams."""
    url = settings.source_redis_url.get_secret_value()
    return client(url, settings.redis_timeout, settings.redis_tls.options())
