"""Rows 25, 26, 28 and 33: streams and channels that lose events, broken rules, everything."""

from tests.backends import until_sync
from tests.faults.caches import OneServer
from tests.faults.caches import at as client
from tests.faults.ledger import RARE_AND_ONCE, RULES
from tests.faults.member import Member
from tests.faults.rows import row
from tests.faults.stage import DURABLE, Stage

BROKEN = RULES.replace("keys:", "kyes:")  # no rules at all
NEEDY = RULES.replace("{id}", "{nobody.has.this}")  # rules that reject every event
LET_THROUGH = 2 * 99  # events, of a topic and of a stream, before the brake has seen enough


@row(25, "unread entries are trimmed from a stream, then the stream is deleted", grace=10)
def stream_gone(at: Stage) -> None:
    redis = at.redis()
    stream = at.stream(redis)
    load = at.events(OneServer(redis), stream, rare=RARE_AND_ONCE)
    member = at.daemon(RULES + load.ledger.gap_rules())
    at.warm()
    for share, harm in ((0.4, "XTRIM"), (0.8, "DEL")):
        member.freeze()
        load.publish(share)
        with client(redis.port) as admin:
            if harm == "XTRIM":
                admin.xtrim(stream.key, maxlen=10, approximate=False)
            else:
                admin.delete(stream.key)
        member.thaw()
        load.await_settled()
    for cause in ("trimmed-unread", "stream-vanished"):
        at.note(not member.gaps(cause), f"no gap was told: {cause}")
    load.publish()
    at.healed()


@row(26, "the link of pub/sub is half-open, later reset; messages are lost", recover=15, grace=15)
def pubsub_lost(at: Stage) -> None:
    redis, source = at.redis(), at.redis()
    way = at.proxy(source.port)
    channel = at.channel(source, f"redis://{way.address}/0")
    load = at.events(OneServer(redis), channel, rare=RARE_AND_ONCE)
    member = at.daemon(RULES + load.ledger.gap_rules()).await_ready()
    load.publish(0.1)
    load.await_applied()
    member.before = member.vitals()
    way.silent = True
    load.publish(0.4)
    with at.timed(5.0, "seeing that the link is dead"):
        until_sync(lambda: not member.reads("pubsub"), what="the daemon sees it")
    way.heal()
    until_sync(lambda: member.gaps("reconnected") >= 1, what="the gap is told")
    member.await_ready()
    way.deaf = True
    way.reset()
    load.publish(0.7)
    way.deaf = False
    until_sync(lambda: member.gaps("reconnected") >= 2, what="another gap is told")
    load.publish()
    at.healed()


@row(28, "two minutes of all kinds of trouble in random order: memory stays flat", grown=24)
def soaked(at: Stage) -> None:
    redis, source = at.redis(DURABLE), at.redis(DURABLE)
    way = at.proxy(redis.port)
    load = at.usual(redis, way, source=source, count=at.times(24_000), poison=0.005)
    at.daemon()
    at.warm()
    with load.flowing(rate=200):
        for _ in range(at.times(40)):
            _trouble(at, at.rng.choice(TROUBLES))
            at.pause(at.rng.uniform(0.5, 3.0))
            way.heal()
            at.pause(0.5)
    at.healed()


TROUBLES = ("delay", "loss", "silent", "deaf", "swallow", "reset", "kill", "freeze", "scripts")


def _trouble(at: Stage, kind: str) -> None:
    way = at.proxies[0]
    cache = at.load.cache
    assert isinstance(cache, OneServer)
    redis = cache.server
    if kind == "delay":
        way.delay = at.rng.uniform(0.01, 0.5)
    elif kind == "loss":
        way.loss = 0.1
    elif kind in ("silent", "deaf"):
        setattr(way, kind, True)
    elif kind == "swallow":
        way.swallow_replies = at.rng.randint(1, 5)
    elif kind == "reset":
        way.reset_within = at.rng.randint(1, 10_000)
    elif kind == "kill":
        redis.kill()
        redis.start()
    elif kind == "freeze":
        redis.freeze()
        at.pause(2.5)
        redis.thaw()
    else:
        with client(redis.port) as admin:
            admin.script_flush()


@row(33, "the rules break, then reject everything, then are good; dead letters are replayed")
def broken_rules(at: Stage) -> None:
    load = at.usual(at.redis())
    member = at.daemon()
    at.warm()
    with load.flowing(rate=300):
        at.rules(BROKEN)
        until_sync(lambda: not member.rules_in_force(), what="they are rejected")
        at.pause(1)
        _in_force(at, member, NEEDY)
        at.pause(3)
        _in_force(at, member, RULES)
    load.publish()
    at.healed()
    until_sync(load.quiet, what="all is acknowledged")
    dead = len(load.state.dead())
    at.note(not 0 < dead <= LET_THROUGH, f"{dead} dead letters before the brake held")
    at.note(at.run("dead", "replay", "--all") != 0, "the replay failed")


def _in_force(at: Stage, member: Member, rules: str) -> None:
    """Wait until the daemon has taken these rules, in place of others."""
    before = member.daemon.metric("invalidator_rules_loaded_timestamp_seconds")
    at.rules(rules)

    def taken() -> bool:
        now = member.daemon.metric("invalidator_rules_loaded_timestamp_seconds")
        return now > before and member.rules_in_force()

    until_sync(taken, what="the rules are in force")
