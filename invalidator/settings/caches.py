"""Which setting is meant for which cache of the rules."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from invalidator.settings.fields import env_name
from invalidator.settings.model import Settings


def spelled(cache: str) -> str:
    """A cache's name as it can stand in the environment: `orders-EU` is `orders_eu`."""
    return re.sub(r"\W", "_", cache).lower()


def cache_urls(settings: Settings) -> Mapping[str, str]:
    """The servers of caches that have one of their own, by the name as `spelled`."""
    return {spelled(name): url.get_secret_value() for name, url in settings.caches.items()}


def strangers(settings: Settings, caches: Iterable[str]) -> Iterator[str]:
    """Each setting for a cache that no rules file knows, with the name that may be meant."""
    known = {spelled(cache): cache for cache in caches}
    for name in settings.caches:
        if spelled(name) in known:
            continue
        near = get_close_matches(spelled(name), known, n=1, cutoff=0.6)
        listed = ", ".join(sorted(known.values()))
        hint = f"did you mean {env_name(('caches', near[0]))}?" if near else f"they have {listed}"
        origin = settings._origins.get(env_name(("caches", name)), "default")
        yield f"{env_name(('caches', name))} ({origin}): the rules have no cache {name}; {hint}"
