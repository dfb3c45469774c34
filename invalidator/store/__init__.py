"""What makes caches forget: keys, patterns, tags and versions in Redis."""
