"""Rows 1-6 and 35: daemons that die, freeze, come and go."""

from tests.backends import until_sync
from tests.faults.ledger import RARE_AND_ONCE
from tests.faults.member import Member
from tests.faults.rows import row
from tests.faults.stage import Stage

SMALL = {"BATCH__MAX_EVENTS": "20"}  # many batches, so that much can happen between them


@row(1, "the daemon is killed (SIGKILL) 50 times in mid-work, and started again", recover=30)
def killed(at: Stage) -> None:
    redis = at.redis()
    slow = at.proxy(redis.port)
    slow.delay = 0.02
    load = at.usual(redis, slow, count=at.times(10_000), rare=RARE_AND_ONCE)
    load.publish()
    for _ in range(at.times(50)):
        member = at.daemon(KAFKA__INSTANCE_ID="one", STREAMS__CONSUMER="one", **SMALL)
        _await_work(at, member)
        at.pause(at.rng.uniform(0.0, 0.5))
        member.kill()
    slow.heal()
    at.healed()
    at.daemon(KAFKA__INSTANCE_ID="one", STREAMS__CONSUMER="one")


def _await_work(at: Stage, member: Member) -> None:
    """Wait until it has read something, or nothing is left to be read."""
    until_sync(lambda: member.gauges.get("planned") or at.load.quiet(), what="it works")


@row(2, "the daemon is killed between applying and committing, 10 times", recover=30, quick=True)
def killed_before_commit(at: Stage) -> None:
    """Kill it once while nothing can be applied, then while what it sent may be applied or not."""
    redis = at.redis()
    slow = at.proxy(redis.port)
    slow.delay = 0.02
    load = at.usual(redis, slow, count=at.times(10_000), rare=RARE_AND_ONCE)
    load.publish()
    for number in range(1 + at.times(9)):
        slow.silent = True
        member = at.daemon(KAFKA__INSTANCE_ID="one", STREAMS__CONSUMER="one", **SMALL)
        _await_work(at, member)
        if number == 0:
            at.pause(0.5)  # nothing is applied: whatever is acknowledged by now is lost
            member.kill()
            slow.heal()
            slow.delay = 0.02
            continue
        slow.silent = False
        at.pause(at.rng.uniform(0.05, 0.2))  # less than the time until the next commit
        member.kill()
    slow.heal()
    at.healed()
    at.daemon(KAFKA__INSTANCE_ID="one", STREAMS__CONSUMER="one")


@row(3, "SIGTERM under load: ended in order within 10 s, three times", repeated=0, quick=True)
def terminated(at: Stage) -> None:
    load = at.usual(at.redis())
    with load.flowing():
        for _ in range(at.times(3)):
            member = at.daemon().await_ready()
            at.pause(at.rng.uniform(0.5, 1.5))
            with at.timed(10, "an orderly end"):
                code = member.daemon.stop()
            at.note(code != 0, f"SIGTERM: ended with {code}")
    load.publish()
    at.healed()
    at.daemon()


@row(4, "one of two daemons is frozen (SIGSTOP) for 60 s, and wakes up", longest=75)
def frozen(at: Stage) -> None:
    load = at.usual(at.redis())
    sleeper = at.daemon()
    at.daemon()
    at.warm()
    with load.flowing(rate=50):
        at.pause(1)
        sleeper.freeze()
        at.pause(at.times(60))
        sleeper.thaw()
        at.healed()
        at.pause(2)


@row(5, "three daemons are restarted one after the other under load")
def rolled(at: Stage) -> None:
    load = at.usual(at.redis())
    members = [at.daemon() for _ in range(3)]
    at.warm()
    with load.flowing(rate=150):
        for member in members:
            code = member.daemon.stop()
            at.note(code != 0, f"SIGTERM: ended with {code}")
            at.daemon().await_ready()
    at.healed()


@row(
    6,
    "Redis is slow (0.4 s a reply) while another daemon joins and leaves again; then it is silent "
    "while one joins and the first is killed",
)
def slow_in_a_rebalance(at: Stage) -> None:
    redis = at.redis()
    slow = at.proxy(redis.port)
    load = at.usual(redis, slow)
    first = at.daemon()
    at.warm()
    with load.flowing(rate=200):
        slow.delay = 0.2
        second = at.daemon()
        until_sync(lambda: second.reads("kafka"), what="the second has partitions")
        at.pause(2)
        code = second.daemon.stop()
        at.note(code not in (0, 3), f"SIGTERM: ended with {code}")
        slow.silent = True
        at.pause(1)  # batches are in work
        third = at.daemon()
        until_sync(lambda: third.reads("kafka"), what="the third has partitions")
        first.kill()
        slow.heal()
    at.healed()


@row(
    35,
    "the only daemon is killed (SIGKILL), and another waits for its partitions until the session "
    "ends (30 s)",
    recover=60,
)
def killed_alone(at: Stage) -> None:
    load = at.usual(at.redis())
    usual = {"KAFKA__SESSION_TIMEOUT": "30s"}
    first = at.daemon(**usual)
    at.warm()
    with load.flowing(rate=200):
        at.pause(1)
        first.kill()
    load.publish()
    at.healed()
    at.daemon(**usual)
