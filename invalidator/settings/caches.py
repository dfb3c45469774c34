"""How the settings relate to the caches and sources that the rules name."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from invalidator.errors import ConfigError
from invalidator.rules.rule import Cache
from invalidator.runtime.text import closest
from invalidator.settings.fields import env_name
from invalidator.settings.model import Settings

# Of the URLs of services whose API has one for each customer; these need a token, too.
ENDINGS: Final = {"fastly": r"/service/[^/]+$", "cloudflare": r"/zones/[^/]+$"}


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


def edge_servers(settings: Settings, cache: str) -> Sequence[str]:
    """Return the URLs of the servers of a cache at the edge."""
    urls = _of(settings.edge.urls, cache)
    return urls.get_secret_value().split(",") if urls else ()


def edge_secret(settings: Settings, cache: str) -> str:
    """Return the secret of a cache at the edge; empty if it has none."""
    secret = _of(settings.edge.secrets, cache)
    return secret.get_secret_value() if secret else ""


def check_caches(settings: Settings, caches: Mapping[str, Cache]) -> None:
    """Raise ConfigError if the settings do not fit the caches of the rules."""
    if wrong := [*misplaced_caches(settings, caches)]:
        raise ConfigError("\n".join(wrong))


def misplaced_caches(settings: Settings, caches: Mapping[str, Cache]) -> Iterator[str]:
    """Yield a message for each cache that is only in the settings, or lacks its settings there."""
    redis = {env_spelling(name): name for name, cache in caches.items() if not cache.at_edge}
    edge = {env_spelling(name): name for name, cache in caches.items() if cache.at_edge}
    yield from _unknown(settings, ("caches",), settings.caches, redis, edge)
    yield from _unknown(settings, ("edge", "urls"), settings.edge.urls, edge, redis)
    yield from _unknown(settings, ("edge", "secrets"), settings.edge.secrets, edge, redis)
    for cache in caches.values():
        if cache.at_edge:
            yield from _incomplete(settings, cache)


def _unknown(
    settings: Settings,
    group: tuple[str, ...],
    given: Iterable[str],
    known: Mapping[str, str],
    others: Mapping[str, str],
) -> Iterator[str]:
    for name in given:
        if env_spelling(name) in known:
            continue
        setting = env_name((*group, name))
        origin = settings._origins.get(setting, "default")
        place, other = ("on Redis", "at the edge")[:: 1 if group == ("caches",) else -1]
        if env_spelling(name) in others:
            yield f"{setting} ({origin}): by its target in the rules, the cache {name} is {other}"
            continue
        near = closest(env_spelling(name), known)
        listed = ", ".join(sorted(known.values())) or f"none {place}"
        hint = f"did you mean {env_name((*group, near))}?" if near else f"they have {listed}"
        yield f"{setting} ({origin}): the rules have no cache {name}; {hint}"


def _incomplete(settings: Settings, cache: Cache) -> Iterator[str]:
    name, reason = env_spelling(cache.name), f"because the rules have target: {cache.target}"
    servers = edge_servers(settings, cache.name)
    if not servers:
        yield f"{env_name(('edge', 'urls', name))}: missing, {reason}"
    ending = ENDINGS.get(cache.target)
    if ending and not all(re.search(ending, url) for url in servers):
        wanted = f"{ending.partition('[')[0]}ID"
        yield f"{env_name(('edge', 'urls', name))}: must end with {wanted}, {reason}"
    if ending and not edge_secret(settings, cache.name):
        yield f"{env_name(('edge', 'secrets', name))}: missing, {reason}"


def _of(named: Mapping[str, SecretStr], cache: str) -> SecretStr | None:
    spelled = env_spelling(cache)
    return next((value for name, value in named.items() if env_spelling(name) == spelled), None)
