import asyncio
import contextlib
from collections.abc import Sequence

import pytest
import redis
from redis.exceptions import RedisError

from invalidator.errors import Unavailable
from invalidator.redisclient import Command, Reply, client, converse
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.tags import Layout, Tags, stamps
from tests.backends import until
from tests.conftest import StartRedis

SET = Layout()


def tags_of(server: Server, *layouts: Layout) -> Tags:
    return Tags(server, layouts or (SET,), Keys(server).unlink)


def put(redis_now: "redis.Redis", tag: str, *members: str, prefix: str = "") -> None:
    redis_now.sadd(tag, *members)
    redis_now.mset({prefix + member: "cached" for member in members})


def left(redis_now: "redis.Redis") -> set[bytes]:
    return {key for key in redis_now.scan_iter(count=1000) if isinstance(key, bytes)}


async def test_every_member_goes_and_the_tag_with_it(
    server: Server, redis_now: "redis.Redis"
) -> None:
    put(redis_now, "tag:a", "k1", "k2", "k3")
    put(redis_now, "tag:b", "other")
    consumed = await tags_of(server).consume({"a", "absent"})
    assert (consumed.existed, consumed.failed) == (3, {})
    assert left(redis_now) == {b"tag:b", b"other"}


async def test_members_relative_to_a_prefix(server: Server, redis_now: "redis.Redis") -> None:
    put(redis_now, "app:tag:a", "k1", "k2", prefix="app:")
    redis_now.set("k1", "somebody else's")
    relative = Layout(key="app:tag:{tag}", prefix="app:")
    assert (await tags_of(server, relative).consume(["a"])).existed == 2
    assert left(redis_now) == {b"k1"}


async def test_a_sorted_set_of_expiry_times(server: Server, redis_now: "redis.Redis") -> None:
    redis_now.zadd("tag:a:entries", {f"k{number}": -1 for number in range(500)})
    redis_now.mset({f"k{number}": "cached" for number in range(500)} | {"-1": "no member"})
    laravel = Layout("sorted-set", "tag:{tag}:entries")
    assert (await tags_of(server, laravel).consume(["a"])).existed == 500
    assert left(redis_now) == {b"-1"}
    redis_now.delete("-1")


async def test_several_layouts_side_by_side(server: Server, redis_now: "redis.Redis") -> None:
    put(redis_now, "tag:a", "k1")
    put(redis_now, "cache:tag:a", "k2")
    layouts = [SET, Layout(key="cache:tag:{tag}"), Layout("stamp", "stamp:{tag}")]
    assert (await tags_of(server, *layouts).consume(["a"])).existed == 2
    assert stamps(layouts, ["a", "b"]) == {"stamp:a": "a", "stamp:b": "b"}
    assert left(redis_now) == set()


async def test_a_tag_that_expires_while_it_is_read_still_loses_all_its_members(
    server: Server, redis_now: "redis.Redis"
) -> None:
    put(redis_now, "tag:a", *(f"k{number}" for number in range(2000)))
    redis_now.pexpire("tag:a", 60_000)
    seen: list[int] = []

    async def unlink(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        seen.extend(redis_now.ttl(work) for work in redis_now.scan_iter("invalidator:work:*:?*"))
        return await Keys(server).unlink(keys)

    await Tags(server, [SET], unlink).consume(["a"])
    assert set(seen) == {-1}
    assert left(redis_now) == set()


async def test_thousands_of_tags_most_of_them_absent_take_few_round_trips(
    server: Server, redis_now: "redis.Redis"
) -> None:
    for number in range(0, 5000, 500):
        put(redis_now, f"tag:t{number}", f"k{number}", f"l{number}")
    counting = Counting(server)
    consumed = await tags_of(counting).consume([f"t{number}" for number in range(5000)])
    assert consumed.existed == 20
    assert left(redis_now) == set()
    # claim (twice: the server does not know the script yet), read, take out, settle (twice)
    assert counting.trips <= 6
    assert counting.longest < 210, "a script must not block the server for long"


async def test_a_key_of_another_type_fails_alone(server: Server, redis_now: "redis.Redis") -> None:
    put(redis_now, "tag:a", "k1")
    redis_now.set("tag:b", "a string")
    redis_now.zadd("tag:c", {"k2": 1})
    consumed = await tags_of(server).consume(["a", "b", "c"])
    assert {tag: verdict.code for tag, verdict in consumed.failed.items()} == {
        "b": "wrongtype",
        "c": "wrongtype",
    }
    assert left(redis_now) == {b"tag:b", b"tag:c"}


@pytest.mark.parametrize("kept", [SET, Layout("sorted-set"), Layout(prefix="invalidator:")])
async def test_members_that_name_keys_of_our_own_are_not_deleted(
    server: Server, redis_now: "redis.Redis", kept: Layout
) -> None:
    names = ["dead", "k1"] if kept.prefix else ["invalidator:dead", "k1"]
    if kept.kind == "set":
        redis_now.sadd("tag:a", *names)
    else:
        redis_now.zadd("tag:a", dict.fromkeys(names, 1))
    redis_now.mset({"invalidator:dead": "letters", "k1": "cached", "invalidator:k1": "ours"})
    consumed = await tags_of(server, kept).consume(["a"])
    assert {tag: verdict.code for tag, verdict in consumed.failed.items()} == {"a": "own-name"}
    others = {b"k1"} if kept.prefix else set()
    assert left(redis_now) == {b"invalidator:dead", b"invalidator:k1", *others}
    redis_now.flushdb()


async def test_names_in_bytes_braces_and_newlines(server: Server, redis_now: "redis.Redis") -> None:
    for tag in ("{x}", "a}b", "{}", "{", "é\n"):
        put(redis_now, f"tag:{tag}", f"key of {tag}")
    assert (await tags_of(server).consume(["{x}", "a}b", "{}", "{", "é\n"])).existed == 5
    assert left(redis_now) == set()


async def test_a_large_set_is_read_in_pieces(server: Server, redis_now: "redis.Redis") -> None:
    members = [f"key:{number}" for number in range(20_000)]
    put(redis_now, "tag:a", *members)
    largest = 0

    async def unlink(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        nonlocal largest
        largest = max(largest, len(keys))
        return await Keys(server).unlink(keys)

    assert (await Tags(server, [SET], unlink).consume(["a"])).existed == 20_000
    assert largest < 2_500
    assert left(redis_now) == set()


async def test_two_daemons_consume_one_tag_again_and_again_and_no_member_outlives_its_event(
    server: Server, redis_now: "redis.Redis"
) -> None:
    """Members come back while both work; each event kills all that was there before it."""

    async def daemon(name: str) -> None:
        tags = tags_of(server)
        for turn in range(40):
            mine = {f"{name}:{turn}:{number}": "cached" for number in range(30)}
            redis_now.sadd("tag:a", *mine, "shared")
            redis_now.mset({**mine, "shared": "cached"})
            await tags.consume(["a"])
            assert redis_now.exists(*mine) == 0

    await asyncio.gather(daemon("one"), daemon("two"))
    assert left(redis_now) == set()


class Crash(Exception):  # noqa: N818 - no error: what is tested
    """The daemon dies here."""


class Counting(Server):
    def __init__(self, server: Server) -> None:
        super().__init__(server.client, server.name)
        self.trips = self.longest = 0

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        self.trips += 1
        scripts = [len(command) for command in commands if command[0] == "EVALSHA"]
        self.longest = max(self.longest, *scripts, 0)
        return await super().ask(commands)


class Mortal(Server):
    """Sends so many commands, and dies: also in the middle of a write."""

    def __init__(self, server: Server, life: int) -> None:
        super().__init__(server.client, server.name)
        self.life = life

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        commands = list(commands)
        replies = await super().ask(commands[: self.life])
        if len(commands) > self.life:
            raise Crash
        self.life -= len(commands)
        return replies

    async def unlink(self, keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        return sum(await self.ask([("UNLINK", key) for key in keys])), {}


def mortal_tags(server: Server, life: int, layout: Layout) -> Tags:
    mortal = Mortal(server, life)
    return Tags(mortal, [layout], mortal.unlink)


def fill(redis_now: "redis.Redis", layout: Layout) -> list[str]:
    members = [f"{tag}{number}" for tag in "ab" for number in range(4)]
    for member in members:
        if layout.kind == "set":
            redis_now.sadd(f"tag:{member[0]}", member)
        else:
            redis_now.zadd(f"tag:{member[0]}", {member: 1})
        redis_now.set(member, "cached")
    return members


async def crash_after(life: int, server: Server, layout: Layout) -> bool:
    """Whether it died before it was done."""
    try:
        await mortal_tags(server, life, layout).consume(["a", "b"])
    except Crash:
        return True
    return False


@pytest.mark.parametrize("again", ["redelivered", "recovered"])
@pytest.mark.parametrize("layout", [SET, Layout("sorted-set")], ids=["set", "sorted-set"])
async def test_a_crash_anywhere_loses_no_member_and_takes_none_that_came_after_the_event(
    server: Server, redis_now: "redis.Redis", layout: Layout, again: str
) -> None:
    await tags_of(server, layout).consume(["warm"])  # the scripts are loaded
    for life in range(1000):
        redis_now.flushdb()
        members = fill(redis_now, layout)
        died = await crash_after(life, server, layout)
        claimed = not redis_now.exists("tag:a", "tag:b")
        if again == "redelivered":
            await tags_of(server, layout).consume(["a", "b"])
        else:
            if claimed:  # readers begin a new set, which is no business of this event
                redis_now.sadd("tag:a", "later")
                redis_now.set("later", "cached")
            await tags_of(server, layout).recover()
        if claimed or again == "redelivered":
            assert redis_now.exists(*members) == 0, life
            rest = {b"tag:a", b"later"} if again == "recovered" else set()
            assert left(redis_now) == rest, life
        if not died:
            break
    else:
        pytest.fail("it never came to its end")
    assert life > 10


async def test_crash_upon_crash_ends_well(server: Server, redis_now: "redis.Redis") -> None:
    members = fill(redis_now, SET)
    for life in range(1, 30):
        await crash_after(life, server, SET)
        if life == 6:
            redis_now.sadd("tag:a", "later")
            redis_now.set("later", "cached")
    await tags_of(server).consume(["a", "b"])
    assert redis_now.exists(*members, "later") == 0
    assert left(redis_now) == set()


async def test_a_note_of_work_that_is_gone_is_dropped(
    server: Server, redis_now: "redis.Redis"
) -> None:
    redis_now.sadd("invalidator:works", "invalidator:work:{tag:a}:tag:a")
    assert (await tags_of(server).recover()).existed == 0
    assert left(redis_now) == set()


async def test_without_a_registry_leftovers_are_found_by_looking(
    server: Server, redis_now: "redis.Redis"
) -> None:
    members = fill(redis_now, SET)
    mortal = Mortal(server, 6)
    with pytest.raises(Crash):
        await Tags(mortal, [SET], mortal.unlink, cluster=True).consume(["a", "b"])
    assert any(key.startswith(b"invalidator:work:") for key in left(redis_now))
    whole = Tags(server, [SET], Keys(server).unlink, cluster=True)
    await whole.consume(["a", "b"])
    assert redis_now.exists(*members) == 0
    fill(redis_now, SET)
    mortal.life = 6
    with pytest.raises(Crash):
        await Tags(mortal, [SET], mortal.unlink, cluster=True).consume(["a", "b"])
    await whole.recover()
    assert left(redis_now) == set()


async def test_a_full_server_still_lets_tags_go(start_redis: StartRedis) -> None:
    running = start_redis()
    with redis.Redis(port=running.port) as admin:
        put(admin, "tag:a", "k1", "k2")
        admin.config_set("maxmemory", 1)
        async with client(running.url, 2.0) as full:
            assert (await tags_of(Server(full, "cache")).consume(["a"])).existed == 2
        assert admin.dbsize() == 0


async def test_a_forbidden_member_fails_its_tag_and_the_others_go(start_redis: StartRedis) -> None:
    running = start_redis()
    with redis.Redis(port=running.port) as admin:
        put(admin, "tag:a", "ok:1", "secret", "ok:2")
        put(admin, "tag:b", "ok:3")
        patterns = ["tag:*", "ok:*", "invalidator:*"]
        admin.acl_setuser("u", enabled=True, passwords=["+p"], keys=patterns, commands=["+@all"])
        async with client(f"redis://u:p@{running.address}", 2.0) as limited:
            consumed = await tags_of(Server(limited, "cache")).consume(["a", "b"])
        assert {tag: verdict.code for tag, verdict in consumed.failed.items()} == {"a": "noperm"}
        assert left(admin) == {b"secret"}


async def test_a_restart_between_two_pages_of_a_set_skips_no_member(
    start_redis: StartRedis,
) -> None:
    running = start_redis()
    members = [f"key:{number}" for number in range(20_000)]
    restarted = False
    async with client(running.url, 2.0) as connected:

        async def answers() -> bool:
            with contextlib.suppress(RedisError):
                return bool(await converse(connected, [("PING",)]))
            return False

        async def unlink(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
            nonlocal restarted
            if not restarted:
                restarted = True
                with redis.Redis(port=running.port) as admin:
                    admin.save()
                running.kill()
                running.start()
                await until(answers)  # so that the next page comes over a new connection
            return await Keys(Server(connected, "cache")).unlink(keys)

        with redis.Redis(port=running.port) as admin:
            put(admin, "tag:a", *members)
        tags = Tags(Server(connected, "cache"), [SET], unlink)
        await tags.consume(["a"])
    with redis.Redis(port=running.port) as admin:
        assert admin.dbsize() == 0


async def test_a_server_that_dies_under_it_is_unavailable(start_redis: StartRedis) -> None:
    running = start_redis()
    with redis.Redis(port=running.port) as admin:
        put(admin, "tag:a", "k1")
    async with client(running.url, 2.0) as doomed:
        running.kill()
        with pytest.raises(Unavailable):
            await tags_of(Server(doomed, "cache")).consume(["a"])
