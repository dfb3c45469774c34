"""Write-behind: frequent writes, journalled and flushed in batches. See docs/read-side.md."""

from invalidator.cache.behind.plan import Flush, FlushRejected, Stats, latest
from invalidator.cache.behind.sync_write_behind import SyncWriteBehind
from invalidator.cache.behind.write_behind import WriteBehind

__all__ = ["Flush", "FlushRejected", "Stats", "SyncWriteBehind", "WriteBehind", "latest"]
