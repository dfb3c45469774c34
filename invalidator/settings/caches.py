"""How the settings relate to the caches and sources that the rules name."""

import re
from collections.abc import Iterable, Iterator, Mapping

from invalidator.errors import ConfigError
from invalidator.runtime.text import closest
from invalidator.settings.fields import env_name
from invalidator.settings.model import Settings


def env_spelling(cache: str) -> str:
    """Return a cache's name as it is spelled in the environment: `orders-EU` is `orders_eu`."""
    return re.sub(r"\W", "_", cache).lower()


def cache_urls(settings: Settings) -> Mapping[str, str]:
    """Return the URLs of caches with a server of their own, by `env_spelling`."""
    return {env_spelling(name): url.get_secret_value() for name, url in settings.caches.items()}


def read_origins(settings: Settings) -> tuple[str, ...]:
    """Return the topics, channels and streams to read: names, globs and expressions."""
    channels = settings.pubsub.channels + settings.pubsub.sharded_channels
    return settings.kafka.topics + channels + settings.streams.keys + (*settings.http.routes,)


def check_caches(settings: Settings, caches: Iterable[str]) -> None:
    """Raise ConfigError if the settings name a cache that the rules do not have."""
    if unknown := [*unknown_caches(settings, caches)]:
        raise ConfigError("\n".join(unknown))


def unknown_caches(settings: Settings, caches: Iterable[str]) -> Iterator[str]:
    """Yield a message for each cache in the settings that the rules do not have."""
    known = {env_spelling(cache): cache for cache in caches}
    for name in settings.caches:
        if env_spelling(name) in known:
            continue
        near = closest(env_spelling(name), known)
        listed = ", ".join(sorted(known.values()))
        hint = f"did you mean {env_name(('caches', near))}?" if near else f"they have {listed}"
        origin = settings._origins.get(env_name(("caches", name)), "default")
        yield f"{env_name(('caches', name))} ({origin}): the rules have no cache {name}; {hint}"
