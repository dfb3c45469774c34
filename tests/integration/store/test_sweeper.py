import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from invalidator.errors import Unavailable
from invalidator.redisclient import Command, Reply, client
from invalidator.redisclient.server import Server
from invalidator.runtime.health import Part
from invalidator.targets.pace import Pacer
from invalidator.targets.redis.keys import Keys
from invalidator.targets.redis.patterns import Matcher, protected
from invalidator.targets.redis.sweeper import Sweeper
from invalidator.targets.redis.walk import Node, Pace, Progress, Ticket, nodes_on
from tests.backends import until
from tests.backends.waiting import turn
from tests.conftest import StartRedis

NOTHING = Matcher([])
FAST = Pace(share=1.0, count=100)


class Listening(Server):
    """Notes what was sent; `before` may do something first, or fail."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.client, server.name)
        self.sent: list[Command] = []
        self.before: Callable[[Command], None] = lambda command: None

    async def ask(self, commands: Iterable[Command]) -> list[Reply]:
        commands = list(commands)
        for command in commands:
            self.before(command)
            self.sent.append(command)
        return await super().ask(commands)

    def count(self, word: str) -> int:
        return sum(command[0] == word for command in self.sent)


@pytest.fixture
def listening(server: Server) -> Listening:
    return Listening(server)


@asynccontextmanager
async def sweeping(
    server: Server, protect: Matcher = NOTHING, **options: Any
) -> AsyncIterator[Sweeper]:
    node = Node(server, Keys(server).unlink)

    async def nodes() -> Sequence[Node]:
        return [node]

    sweeper = Sweeper(nodes, protect, Part("sweeper"), **({"pace": FAST} | options))
    task = asyncio.create_task(sweeper.run())
    try:
        yield sweeper
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def outcome(ticket: Ticket) -> Progress:
    async with asyncio.timeout(60):
        return await ticket.wait()


async def test_what_matches_goes_and_nothing_else(server: Server, redis_now: "redis.Redis") -> None:
    redis_now.mset({f"orders:list:{n % 10}:{n}": "x" for n in range(1000)})
    redis_now.mset({f"users:{n}": "x" for n in range(1000)})
    async with sweeping(server) as sweeper:
        progress = await outcome(sweeper.request({b"orders:list:3:*", b"users:1?", b"*:99"}))
    # ten users of two digits, users:99, and orders:list:9:99
    assert (progress.removed, progress.matched, progress.ended) == (112, 112, True)
    assert redis_now.dbsize() == 2000 - 112
    assert progress.total == 2000
    assert progress.seen >= 2000


async def test_patterns_with_a_common_prefix_are_filtered_by_the_server(
    listening: Listening, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({"o[1]:a": "x", "o[1]:b": "x", "o1:a": "x"})
    async with sweeping(listening) as sweeper:
        progress = await outcome(sweeper.request({rb"o\[1\]:a*", rb"o\[1\]:b*"}))
        await outcome(sweeper.request({b"x*", b"y*"}))
    assert progress.removed == 2
    scans = [command for command in listening.sent if command[0] == "SCAN"]
    assert ["MATCH" in command for command in scans] == [True, False]


async def test_everything_asked_for_while_a_sweep_runs_is_served_by_the_next_one(
    listening: Listening, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"k:{n}": "x" for n in range(500)})
    late: list[Ticket] = []

    async with sweeping(listening) as sweeper:

        def ask_for_more(command: Command) -> None:
            if command[0] == "SCAN" and len(late) < 100:
                late.extend(sweeper.request({b"k:%d" % n}) for n in range(100))

        listening.before = ask_for_more
        first = sweeper.request({b"none:*"})
        assert (await outcome(first)).removed == 0
        assert not late[0].done
        assert (await outcome(late[0])).removed == 100
    assert len(set(map(id, late))) == 1
    assert listening.count("DBSIZE") == 2


async def test_a_pattern_asked_for_ten_thousand_times_costs_once(
    listening: Listening, redis_now: "redis.Redis"
) -> None:
    redis_now.set("k:1", "x")
    async with sweeping(listening) as sweeper:
        tickets = {id(sweeper.request({b"k:*"})) for _ in range(10_000)}
        assert sweeper.waiting == 1
        await outcome(sweeper.request([]))
    assert len(tickets) == 1
    assert listening.count("SCAN") == 1


async def test_protected_names_are_never_touched(server: Server, redis_now: "redis.Redis") -> None:
    spared = ["tag:a", "cache:version:v", "lock:1", "invalidator:dead", "invalidator:stamp:s"]
    redis_now.mset(dict.fromkeys([*spared, "cache:x", "t"], "x"))
    protect = protected(["tag:{tag}", "cache:version:{name}"], ["lock:*"])
    async with sweeping(server, protect) as sweeper:
        progress = await outcome(sweeper.request({b"*"}))
    assert (progress.removed, progress.protected) == (2, 5)
    assert redis_now.exists(*spared) == 5
    redis_now.delete(*spared)


async def test_a_request_for_nothing_is_done_without_a_sweep(listening: Listening) -> None:
    async with sweeping(listening) as sweeper:
        assert (await outcome(sweeper.request([]))).passes == 0
    assert listening.sent == []


async def test_a_sweep_that_fails_begins_anew_and_those_who_wait_do_not_notice(
    listening: Listening, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"k:{n}": "x" for n in range(1000)})
    failures = iter([3, 5, 2])
    left = next(failures)

    def fail(command: Command) -> None:
        nonlocal left
        left -= command[0] == "SCAN"
        if left == 0:
            left = next(failures, -1)
            raise Unavailable("cache", "gone for a moment")

    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await turn()

    listening.before = fail
    async with sweeping(listening, sleep=sleep, chance=lambda: 1.0) as sweeper:
        progress = await outcome(sweeper.request({b"k:*"}))
    assert (progress.removed, progress.passes) == (1000, 4)
    assert [seconds for seconds in waited if seconds >= 0.05] == [0.05, 0.1, 0.2]


async def test_a_sweep_that_begins_anew_takes_along_what_was_asked_for_meanwhile(
    listening: Listening, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({"a:1": "x", "b:1": "x"})
    late: list[Ticket] = []

    async with sweeping(listening) as sweeper:

        def fail_once(command: Command) -> None:
            if command[0] == "SCAN" and not late:
                late.append(sweeper.request({b"b:*"}))
                raise Unavailable("cache", "gone for a moment")

        listening.before = fail_once
        early = sweeper.request({b"a:*"})
        assert (await outcome(early)).removed == 2
        assert late[0].done
    assert redis_now.dbsize() == 0


async def test_a_sweep_during_which_the_server_restarted_begins_anew(
    start_redis: StartRedis,
) -> None:
    running = start_redis()
    with redis.Redis(port=running.port) as admin:
        admin.mset({f"k:{n}": "x" for n in range(5000)})
        admin.save()
    restarted = False

    def restart(command: Command) -> None:
        nonlocal restarted
        if command[0] == "SCAN" and command[1] != b"0" and not restarted:
            restarted = True
            running.kill()
            running.start()

    async with client(running.url, 2.0) as connected:
        listening = Listening(Server(connected, "cache"))
        listening.before = restart
        async with sweeping(listening) as sweeper:
            progress = await outcome(sweeper.request({b"k:*"}))
    assert progress.passes == 2
    with redis.Redis(port=running.port) as admin:
        assert admin.dbsize() == 0


async def test_a_restart_that_no_connection_noticed_begins_it_anew(
    listening: Listening, redis_now: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = iter([b"one", b"two", b"two", b"two"])
    monkeypatch.setattr("invalidator.targets.redis.moved.run_id", lambda info: next(runs))
    redis_now.set("k:1", "x")
    async with sweeping(listening) as sweeper:
        progress = await outcome(sweeper.request({b"k:*"}))
    assert (progress.passes, progress.removed, progress.again) == (2, 1, "")


async def test_a_replica_is_not_swept(start_redis: StartRedis) -> None:
    running = start_redis()
    async with client(running.url, 2.0) as connected:
        with redis.Redis(port=running.port) as admin:
            admin.replicaof("127.0.0.1", "1")
            async with sweeping(Server(connected, "cache")) as sweeper:
                ticket = sweeper.request({b"k:*"})
                await until(lambda: "replica" in sweeper.part.reason)
                assert not ticket.done
                admin.replicaof("NO", "ONE")
                assert (await outcome(ticket)).removed == 0


async def test_a_sweep_can_be_cancelled_in_the_middle(
    listening: Listening, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"k:{n}": "x" for n in range(1000)})
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    slow = Pace(bytes_per_second=1, count=100)
    async with sweeping(listening, sleep=sleep, pace=slow) as sweeper:
        ticket = sweeper.request({b"k:*"})
        await asleep.wait()
    assert not ticket.done
    assert listening.count("SCAN") <= 2
    assert redis_now.dbsize() >= 800


async def test_a_survey_counts_in_one_pass_and_deletes_nothing(
    server: Server, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"a:{n}": "x" for n in range(300)} | {"a:lock": "x", "b": "x"})
    async with sweeping(server, Matcher([b"a:lock"])) as sweeper:
        found = await sweeper.survey([b"a:*"])
    assert (found.matched, found.protected, found.total, found.removed) == (300, 1, 302, 0)
    assert redis_now.dbsize() == 302


async def test_a_sweep_pauses_as_long_as_its_pace_asks(
    server: Server, redis_now: "redis.Redis"
) -> None:
    redis_now.mset({f"k:{n:07}": "x" for n in range(1000)})
    now = 0.0
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        waited.append(seconds)
        now += seconds
        await turn()

    pace = Pace(share=1.0, bytes_per_second=900, count=100)
    told: list[tuple[int, bool]] = []
    async with sweeping(
        server,
        pace=pace,
        clock=lambda: now,
        sleep=sleep,
        observe=lambda progress: told.append((progress.seen, progress.ended)),
        observe_every=3.0,
    ) as sweeper:
        progress = await outcome(sweeper.request({b"x*", b"y*"}))
    assert 9.0 <= sum(waited) <= 10.0  # 9,000 bytes of names, but no pause after the last page
    assert progress.seconds == pytest.approx(sum(waited))
    assert 3 <= len(told) <= 5
    assert told == sorted(told)
    assert told[-1] == (1000, True)


async def test_a_sweep_goes_as_fast_as_the_limit_on_deletes_lets_it(
    server: Server, redis_now: "redis.Redis"
) -> None:
    """Waiting for the limit is no work of the server's, for which the pace would pause."""
    redis_now.mset({f"k:{n}": "x" for n in range(3000)})
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await turn()

    pacer = Pacer(1000, clock=lambda: now, sleep=sleep)

    async def nodes() -> Sequence[Node]:
        return await nodes_on(server, Keys(server), pacer)

    sweeper = Sweeper(nodes, NOTHING, Part("sweeper"), clock=lambda: now, sleep=sleep)
    task = asyncio.create_task(sweeper.run())
    progress = await outcome(sweeper.request({b"k:*"}))
    task.cancel()
    await asyncio.wait([task])
    assert progress.removed == 3000
    assert 2.5 < now < 3.5


async def test_a_forbidden_key_is_reported_and_the_others_go(start_redis: StartRedis) -> None:
    running = start_redis()
    with redis.Redis(port=running.port) as admin:
        admin.mset({"k:1": "x", "k:2": "x", "k:secret": "x"})
        names = ["k:1", "k:2", "invalidator:*"]
        admin.acl_setuser("u", enabled=True, passwords=["+p"], keys=names, commands=["+@all"])
        async with (
            client(f"redis://u:p@{running.address}", 2.0) as limited,
            sweeping(Server(limited, "cache")) as sweeper,
        ):
            progress = await outcome(sweeper.request({b"k:*"}))
        assert progress.removed == 2
        assert [verdict.code for verdict in progress.failed.values()] == ["noperm"]
        assert admin.keys() == [b"k:secret"]
