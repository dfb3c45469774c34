"""Rows 25, 26, 28 and 33: streams and channels that lose events, broken rules, everything."""

from tests.backends import until_sync
from tests.faults.caches import OneServer
from tests.faults.caches import at as client
from tests.faults.inlets import Stream
from tests.faults.ledger import GAP_RULE, RULES
from tests.faults.member import Member
from tests.faults.rows import row
from tests.faults.stage import DURABLE, Stage

BROKEN = RULES.replace("keys:", "kyes:")  # no rules at all
NEEDY = RULES.replace("{id}", "{nobody.has.this}")  # rules that reject every event
LET_THROUGH = 2 * 99  # events, of a topic and of a stream, before the brake has seen enough


@row(25, "unread entries are trimmed from a stream, then the stream is deleted", grace=10)
def stream_gone(at: Stage) -> None:
    redis = at.redis()
    stream = Stream(lambda: redis.port, redis.url)
    load = at.events(OneServer(redis), stream)
    member = at.daemon(RULES + GAP_RULE)
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
    causes = {gap["cause"] for gap in member.daemon.events("gap")}
    at.note(not causes >= {"trimmed-unread", "stream-vanished"}, f"gaps: {sorted(causes)}")
    load.publish()
    at.healed()


@row(26, "the link of pub/sub is half-open, later reset; messages are lost", recover=15, grace=15)
def pubsub_lost(at: Stage) -> None:
    redis, source = at.redis(), at.redis()
    way = at.proxy(source.port)
    load = at.events(OneServer(redis), at.channel(source, f"redis://{way.address}/0"))
    member = at.daemon(RULES + GAP_RULE).await_ready()
    load.publish(0.1)
    load.await_share(0.1)
    member.before = member.vitals()
    way.silent = True
    load.publish(0.4)
    with at.timed(5.0, "seeing that the link is dead"):
        until_sync(lambda: _waits_for_pubsub(member), what="the daemon sees it")
    way.heal()
    until_sync(lambda: _gaps(member) >= 1, what="the gap is told")
    member.await_ready()
    way.deaf = True
    way.reset()
    load.publish(0.7)
    way.deaf = False
    until_sync(lambda: _gaps(member) >= 2, what="another gap is told")
    load.publish()
    at.healed()


def _waits_for_pubsub(member: Member) -> bool:
    return any(line["part"] == "pubsub" for line in member.daemon.events("waiting"))


def _gaps(member: Member) -> int:
    return sum(gap["cause"] == "reconnected" for gap in member.daemon.events("gap"))


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
        until_sync(lambda: member.daemon.events("rules-refused"), what="they are refused")
        at.pause(1)
        at.rules(NEEDY)
        until_sync(lambda: len(member.daemon.events("rules-accepted")) == 1, what="they are taken")
        at.pause(3)
        at.rules(RULES)
        until_sync(lambda: len(member.daemon.events("rules-accepted")) == 2, what="they are back")
    load.publish()
    at.healed()
    until_sync(load.quiet, what="all is acknowledged")
    dead = len(load.state.dead())
    at.note(not 0 < dead <= LET_THROUGH, f"{dead} dead letters before the brake held")
    at.note(at.run("dead", "replay", "--all") != 0, "the replay failed")
