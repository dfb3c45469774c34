"""Rows 16-19, 24, 27, 32 and 34: a Redis that dies, freezes, loses replies, refuses, is full."""

from collections.abc import Callable

from tests.backends import until_sync
from tests.backends.redis_server import RedisServer
from tests.faults.caches import OneServer
from tests.faults.caches import at as client
from tests.faults.rows import row
from tests.faults.stage import DURABLE, Stage

POISON = 0.02


@row(16, "Redis is killed (SIGKILL) and started again, with all its data", recover=8)
def redis_killed(at: Stage) -> None:
    redis = at.redis(DURABLE)
    load = at.usual(redis)
    at.daemon()
    at.warm()
    load.publish(0.5)
    redis.kill()
    at.pause(3)
    redis.start()
    load.publish()
    at.healed()


@row(17, "Redis is frozen (SIGSTOP) for 30 s; INVALIDATOR_REDIS_TIMEOUT=1.5s", longest=2.0)
def redis_frozen(at: Stage) -> None:
    redis, source = at.redis(), at.redis()
    load = at.usual(redis, source=source)
    at.daemon(REDIS_TIMEOUT="1.5s")
    at.warm()
    with load.flowing(rate=100):
        at.pause(1)
        redis.freeze()
        at.pause(at.times(30))
        at.note(load.lag() == 0, "acknowledged, though Redis stood still")
    load.publish()
    redis.thaw()
    at.healed()


@row(18, "50 replies of Redis are lost after it did what it was told", quick=True)
def replies_lost(at: Stage) -> None:
    redis = at.redis()
    way = at.proxy(redis.port)
    load = at.usual(redis, way)
    at.daemon()
    at.warm()
    with load.flowing(rate=500):
        for number in range(1, at.times(50) + 1):
            way.swallow_replies = 1
            until_sync(lambda lost=number: way.swallowed >= lost, what="a reply is lost")  # type: ignore[misc]
    at.healed()


@row(19, "20 connections are reset (RST) amid what is sent to Redis")
def reset_amid(at: Stage) -> None:
    redis = at.redis()
    way = at.proxy(redis.port)
    load = at.usual(redis, way)
    at.daemon()
    at.warm()
    with load.flowing(rate=500):
        for number in range(1, 21):
            way.reset_within = at.rng.randint(1, 4_000)
            until_sync(lambda done=number: way.resets >= done, what="a connection is reset")  # type: ignore[misc]
        way.reset()
    at.healed()


@row(24, "Redis refuses: OOM, READONLY, MISCONF, NOREPLICAS; its scripts are gone (NOSCRIPT)")
def refuses(at: Stage) -> None:
    redis, source = at.redis(), at.redis()
    load = at.usual(redis, source=source)
    at.daemon(REWIND="0")  # what was taken for applied and was not would be healed
    at.warm()
    with load.flowing(rate=150):
        for begin, end in (_oom, _readonly, _misconf, _noreplicas):
            begin(redis)
            at.pause(2)
            end(redis)
            with client(redis.port) as admin:
                admin.script_flush()
            at.pause(1)
    at.healed()


Change = Callable[[RedisServer], None]


def _config(name: str, value: str) -> Change:
    def change(redis: RedisServer) -> None:
        with client(redis.port) as admin:
            admin.config_set(name, value)

    return change


def _follow(*whom: str) -> Change:
    def change(redis: RedisServer) -> None:
        with client(redis.port) as admin:
            admin.execute_command("REPLICAOF", *whom)  # type: ignore[no-untyped-call]

    return change


def _cannot_save(redis: RedisServer) -> None:
    (redis.directory / "dump.rdb").mkdir()  # so that the snapshot cannot take its place
    with client(redis.port) as admin:
        admin.config_set("save", "3600 1")
        admin.bgsave()
        until_sync(lambda: _saved(redis) == "err", what="the snapshot failed")


def _can_save(redis: RedisServer) -> None:
    (redis.directory / "dump.rdb").rmdir()
    with client(redis.port) as admin:
        admin.config_set("save", "")
        admin.bgsave()
        until_sync(lambda: _saved(redis) == "ok", what="the snapshot is there")


def _saved(redis: RedisServer) -> str:
    with client(redis.port) as admin:
        return str(admin.info("persistence")["rdb_last_bgsave_status"])


_oom = (_config("maxmemory", "1"), _config("maxmemory", "0"))
_readonly = (_follow("127.0.0.1", "1"), _follow("NO", "ONE"))
_misconf = (_cannot_save, _can_save)
_noreplicas = (_config("min-replicas-to-write", "1"), _config("min-replicas-to-write", "0"))


@row(27, "the Redis of the dead letters is down for 10 s while 2% of the events are poison")
def dead_letters_away(at: Stage) -> None:
    state = at.redis(DURABLE)
    load = at.usual(at.redis(), poison=POISON)
    load.state = OneServer(state)
    at.daemon(STATE_URL=state.url)
    at.warm()
    state.kill()
    load.publish()
    at.pause(at.times(10))
    at.note(load.lag() == 0, "acknowledged, though the dead letters were down")
    state.start()
    at.healed()


@row(32, "three times the daemon's rights are taken away for 3 s: commands, keys, the password")
def rights_taken(at: Stage) -> None:
    redis, source = at.redis(), at.redis()
    load = at.usual(redis, source=source)
    _acl(redis, "on", ">word", "~*", "&*", "+@all")
    at.daemon(REDIS_URL=f"redis://app:word@{redis.address}/0")
    at.warm()
    with load.flowing(rate=150):
        for away, back in (
            (["-@all"], ["+@all"]),
            (["resetkeys"], ["~*"]),
            (["resetpass", ">other"], ["resetpass", ">word"]),
        ):
            _acl(redis, *away)
            at.pause(3)
            _acl(redis, *back)
            at.pause(1)
    at.healed()


def _acl(redis: RedisServer, *words: str) -> None:
    """Change the user, and close its connections: those keep the rights they had."""
    with client(redis.port) as admin:
        admin.execute_command("ACL", "SETUSER", "app", *words)  # type: ignore[no-untyped-call]
        admin.execute_command("CLIENT", "KILL", "USER", "app")  # type: ignore[no-untyped-call]


@row(34, "the Redis of the dead letters is full (OOM) for 10 s while 2% of the events are poison")
def dead_letters_full(at: Stage) -> None:
    state = at.redis({"maxmemory-policy": "noeviction"})
    load = at.usual(at.redis(), poison=POISON)
    load.state = OneServer(state)
    at.daemon(STATE_URL=state.url)
    at.warm()
    _config("maxmemory", "1")(state)
    load.publish()
    at.pause(at.times(10))
    at.note(load.lag() == 0, "acknowledged, though the dead letters took nothing")
    _config("maxmemory", "0")(state)
    at.healed()
