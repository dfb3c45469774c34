"""A client of redis-py that gives up soon: a reader must not wait for a Redis that is silent."""

from typing import Any, Final

from redis.backoff import NoBackoff

from invalidator.cache.pool import LeanAsyncPool, LeanPool

TIMEOUT: Final = 0.5  # seconds for an answer
CONNECT_TIMEOUT: Final = 0.25
CONNECTIONS: Final = 32
POOL_TIMEOUT: Final = 1.0  # seconds to wait for a free connection

# For clients that a service makes itself, also of Sentinel and Cluster.
SETTINGS: Final[dict[str, Any]] = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": CONNECT_TIMEOUT,
    "decode_responses": False,
}


def client_of(url: str, *, asynchronous: bool) -> Any:
    """Return a client of one Redis."""
    from redis.maint_notifications import MaintNotificationsConfig

    options: dict[str, Any] = {
        **SETTINGS,
        "max_connections": CONNECTIONS,
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if asynchronous:
        from redis import asyncio as redis
        from redis.asyncio.retry import Retry as AsyncRetry

        # The cache has a timeout of its own: the client's would make a task for each command.
        options.update(retry=AsyncRetry(NoBackoff(), 0), socket_timeout=None)
        return redis.Redis.from_pool(LeanAsyncPool.from_url(url, **options))
    import redis as sync
    from redis.retry import Retry

    options.update(retry=Retry(NoBackoff(), 0), timeout=POOL_TIMEOUT)
    return sync.Redis.from_pool(LeanPool.from_url(url, **options))
