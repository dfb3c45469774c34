"""What an audit can find. Light: the command line's help names them."""

MEANINGS = {
    "eviction": "a full server may drop what must stay",
    "tag-expires-first": "tags that expire before what they name",
    "unreached": "keys that no rule can make stale",
    "no-ttl": "keys that never expire",
    "big": "keys over 1 MiB",
}
KINDS = tuple(MEANINGS)

ADVICE = {
    "eviction": "Keep them where nothing is evicted (INVALIDATOR_STATE_URL for dead letters, "
    "maxmemory-policy noeviction there), or let this server evict only what has a time to live "
    "(volatile-lru) and give every entry one.",
    "tag-expires-first": "Once such a tag has expired, what it named stays until it expires by "
    "itself: no event finds it. Only ever prolong a tag: EXPIRE tag ttl NX, then EXPIRE tag ttl "
    "GT, or leave it without a time to live.",
    "unreached": "No event can make these stale. Write a rule for them, or if they are no cache "
    "entries (locks, sessions, counters), name them under protect: of their cache.",
    "no-ttl": "What an event misses stays wrong for ever, and nothing evicts it under volatile-* "
    "policies. Give entries a time to live; name what is no cache entry under protect:.",
    "big": "One command on such a key holds up every other client of the server. Split it, or "
    "keep less in it.",
}
