"""Rows 1-6: daemons that die, freeze, come and go."""

from tests.backends import until_sync
from tests.faults.member import Member
from tests.faults.rows import row
from tests.faults.stage import Stage

SMALL = {"BATCH__MAX_EVENTS": "20"}  # many batches, so that much can happen between them


@row(1, "the daemon is killed (SIGKILL) 50 times in mid-work, and started again", recover=30)
def killed(at: Stage) -> None:
    redis = at.redis()
    slow = at.proxy(redis.port)
    slow.delay = 0.02
    load = at.usual(redis, slow, count=at.times(10_000))
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
    """It has read something, or there is nothing left to be read."""
    until_sync(lambda: member.gauges.get("planned") or at.load.quiet(), 60, "it works")


@row(2, "the daemon is killed between applying and committing, 10 times", recover=30, quick=True)
def killed_before_commit(at: Stage) -> None:
    """Redis answers at once, or not at all: what was sent when it died may be applied or not."""
    redis = at.redis()
    slow = at.proxy(redis.port)
    load = at.usual(redis, slow, count=at.times(10_000))
    load.publish()
    for _ in range(at.times(10)):
        slow.silent = True
        member = at.daemon(KAFKA__INSTANCE_ID="one", STREAMS__CONSUMER="one", **SMALL)
        _await_work(at, member)
        slow.silent = False
        at.pause(at.rng.uniform(0.05, 0.2))  # less than the time until the next commit
        member.kill()
    at.healed()
    at.daemon(KAFKA__INSTANCE_ID="one", STREAMS__CONSUMER="one")
