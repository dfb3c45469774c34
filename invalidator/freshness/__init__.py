"""Is what is cached fresh? A sample of the entries is read after their events were applied."""
