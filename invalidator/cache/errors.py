"""What a service may see of the read side's failures."""

from invalidator.errors import InvalidatorError


class CacheError(InvalidatorError):
    """The cache cannot do what it was asked to."""


class CacheUnavailable(CacheError):
    """Redis did not do what it was asked to: an invalidation that raises this did not happen."""


class LoadsExhausted(CacheError):
    """Redis is unavailable, and as many loads are running as may bypass the cache."""


class NotFound(CacheError):
    """A loader raises it for a row that does not exist; remembered for the kind's negative_ttl."""


class BadName(CacheError, ValueError):
    """A template, or a value in it, gives no name for an entry."""


class CodecError(CacheError, TypeError):
    """A value cannot be encoded so that it comes back as it was."""


class UnsafeSet(CacheError, TypeError):
    """A value set after the commit can be older than an invalidation that it overtakes."""

    def __init__(self) -> None:
        super().__init__(
            "set() after a commit can write an old row over a newer one. Three forms are safe:"
            " `async with cache.writing(key)` around the transaction,"
            " `set(key, value, version=row.version)`, or `refresh()` of the cached function"
        )
