"""The read side: entries that can never be filled with stale data. See docs/read-side.md."""

from invalidator.cache.asyncio_driver import LoadContext
from invalidator.cache.base import MISSING, Missing, Write
from invalidator.cache.cache import Cache, Writing
from invalidator.cache.cached import Cached, SyncCached
from invalidator.cache.client import SETTINGS
from invalidator.cache.codecs import Codec, json_codec, msgpack_codec, pickle_codec, raw_codec
from invalidator.cache.errors import (
    BadName,
    CacheError,
    CacheUnavailable,
    CodecError,
    LoadsExhausted,
    NotFound,
    UnsafeSet,
)
from invalidator.cache.kinds import Kind, Kinds
from invalidator.cache.l1 import L1, Near
from invalidator.cache.loading import Loaded, current_load, current_sync_load
from invalidator.cache.stats import Stats
from invalidator.cache.sync_cache import SyncCache, SyncWriting
from invalidator.cache.thread_driver import SyncLoadContext
from invalidator.cache.warming import Progress

__all__ = [
    "L1",
    "MISSING",
    "SETTINGS",
    "BadName",
    "Cache",
    "CacheError",
    "CacheUnavailable",
    "Cached",
    "Codec",
    "CodecError",
    "Kind",
    "Kinds",
    "LoadContext",
    "Loaded",
    "LoadsExhausted",
    "Missing",
    "Near",
    "NotFound",
    "Progress",
    "Stats",
    "SyncCache",
    "SyncCached",
    "SyncLoadContext",
    "SyncWriting",
    "UnsafeSet",
    "Write",
    "Writing",
    "current_load",
    "current_sync_load",
    "json_codec",
    "msgpack_codec",
    "pickle_codec",
    "raw_codec",
]
