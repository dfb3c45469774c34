"""The default name of every Redis key, channel and stream: the contract with readers."""

OWN = "invalidator:"  # all keys of the daemon's own begin with this
DEAD_LETTERS = "invalidator:dead"  # stream: events that could not be applied
PROBE = "invalidator:probe"  # never exists: deleting it tells whether we may delete

TAG_SET = "tag:{tag}"  # a SET of cache keys, as hand-written caches keep it
TAG_STAMP = "invalidator:stamp:{tag}"  # a random token, as invalidator.cache keeps it
VERSION = "cache:version:{name}"  # a number that only grows
WORK = "invalidator:work:"  # a tag set while it is consumed, and a pointer to it
WORKS = "invalidator:works"  # set: all such pointers, to consume what a crash left
PAUSED = "invalidator:paused"  # string: while it exists, no daemon with this state Redis reads
PURGES = "invalidator:purges"  # stream: purges by hand, for the logs of all daemons
# Sweeps that a fleet shares. A group keeps its braces, and so its keys in one slot of a cluster.
SWEEP_WANTED = "invalidator:sweep:{group}:wanted"  # hash: patterns that members wait for
SWEEP_LEASE = "invalidator:sweep:{group}:lease"  # who sweeps for all of them
SWEEP_DONE = "invalidator:sweep:{group}:done:{number}"  # the answer to one request
APPLIED = "invalidator:applied"  # channel: what was applied
OFFSETS = "invalidator:offsets:{group}"  # hash: what a Kafka group had settled
PLACE = "invalidator:place:{group}:{stream}"  # how far back a failover leads in a stream
BEHIND = "invalidator:behind:{name}"  # stream: writes that wait to be flushed
