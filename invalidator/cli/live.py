"""`explain --live`: how much of what an event names is really there. Reads only."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invalidator.redisclient import Client
    from invalidator.rules import Cache, RuleSet, Yield
    from invalidator.settings import Settings

_PAGE = 1000  # keys that a step of a walk looks at


def found(ruleset: "RuleSet", names: Iterable["Yield"]) -> dict["Yield", str]:
    """For each name what Redis has, in a few words. Raises Unavailable."""
    import asyncio

    from invalidator.settings import load
    from invalidator.settings.caches import cache_urls, env_spelling

    settings = load(None)
    main, own = settings.redis_url.get_secret_value(), cache_urls(settings)
    servers: dict[str, list[Yield]] = {}
    for name in dict.fromkeys(names):
        servers.setdefault(own.get(env_spelling(name.cache), main), []).append(name)

    async def look() -> dict["Yield", str]:
        told: dict[Yield, str] = {}
        for url, there in servers.items():
            told |= await _look(settings, url, ruleset, there)
        return told

    return asyncio.run(look())


async def _look(
    settings: "Settings", url: str, ruleset: "RuleSet", names: list["Yield"]
) -> dict["Yield", str]:
    from redis.exceptions import RedisError

    from invalidator.errors import Unavailable
    from invalidator.redisclient import client
    from invalidator.runtime.urls import redact

    redis = client(url, settings.redis_timeout, settings.redis_tls.options())
    try:
        return {name: await _told(redis, ruleset.caches[name.cache], name) for name in names}
    except (RedisError, OSError) as error:
        raise Unavailable(redact(url), str(error)) from error
    finally:
        await redis.aclose()


async def _told(redis: "Client", cache: "Cache", name: "Yield") -> str:
    """One name that may not be looked at, or is of another type, must not hide the others."""
    from redis.exceptions import ResponseError

    from invalidator.redisclient.errors import Meaning, diagnose

    try:
        return await _one(redis, cache, name)
    except ResponseError as error:
        verdict = diagnose(error)
        if verdict.meaning is Meaning.UNAVAILABLE and verdict.code != "noperm":
            raise
        return f"cannot be counted: {verdict.message}"


async def _one(redis: "Client", cache: "Cache", name: "Yield") -> str:
    if name.kind == "keys":
        return "exists" if await _ask(redis, "EXISTS", name.name) else "no such key"
    if name.kind == "versions":
        value = await _ask(redis, "GET", cache.version.replace("{name}", name.name))
        return f"now {value.decode(errors='replace')}" if value is not None else "no counter yet"
    if name.kind == "patterns":
        return _keys(await _walk(redis, name.name))
    return ", ".join([await _tagged(redis, kept.kind, kept.key, name) for kept in cache.layouts])


async def _tagged(redis: "Client", kind: str, template: str, name: "Yield") -> str:
    key = template.replace("{tag}", name.name)
    if kind == "stamp":
        return "a stamp" if await _ask(redis, "EXISTS", key) else "no stamp"
    return _keys(int(await _ask(redis, "SCARD" if kind == "set" else "ZCARD", key)))


async def _walk(redis: "Client", pattern: str) -> int:
    from invalidator.redisclient import nodes

    return sum([await _walk_one(node, pattern) for node in (await nodes(redis)).values()])


async def _walk_one(redis: "Client", pattern: str) -> int:
    cursor, count = b"0", 0
    while True:
        cursor, page = await _ask(redis, "SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
        count += len(page)
        if cursor == b"0":
            return count


async def _ask(redis: "Client", *command: "str | bytes | int") -> Any:
    from invalidator.redisclient import converse

    [reply] = await converse(redis, [command])
    if isinstance(reply, Exception):
        raise reply
    return reply


def _keys(count: int) -> str:
    return f"{count} key{'s' if count != 1 else ''}"
