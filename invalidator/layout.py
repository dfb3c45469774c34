"""The default name of every Redis key, channel and stream: the contract with readers."""

OWN = "invalidator:"  # everything the daemon keeps for itself begins with this
DEAD_LETTERS = "invalidator:dead"  # stream: events that could not be applied
PROBE = "invalidator:probe"  # never exists: deleting it tells whether we may delete

TAG_SET = "tag:{tag}"  # a SET of cache keys, as hand-written caches keep it
TAG_STAMP = "invalidator:stamp:{tag}"  # a random token, as invalidator.cache keeps it
VERSION = "cache:version:{name}"  # a number that only grows
WORK = "invalidator:work:"  # a tag set in the middle of its consumption, and a pointer to it
WORKS = "invalidator:works"  # set: every such pointer, to finish what a crash left
APPLIED = "invalidator:applied"  # channel: what was applied
PLANNING = "invalidator:planning:{group}:{stream}"  # hash: entries that may end who plans them
MOMENT = "invalidator:moment:{token}:{number}"  # until when this Redis has what was deleted
PLACE = "invalidator:place:{group}:{stream}"  # how far a stream was settled, and when
