"""`invalidator audit`: find problems in the Redis servers that hold caches, without changes."""
