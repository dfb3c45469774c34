"""What one pass leaves of the pass before it."""

from collections.abc import Iterable, Sequence

from invalidator.redisclient import Command, Reply
from invalidator.redisclient.errors import Meaning, Verdict
from invalidator.redisclient.server import Server
from invalidator.targets.redis.patterns import Matcher
from invalidator.targets.redis.walk import Node, Pace, Progress, Walk


class Two(Server):
    """A server with two keys, and eight that nobody may see."""

    def __init__(self) -> None:
        self.name = "cache"

    async def insist(self, commands: Iterable[Command]) -> list[Reply]:
        return [10 if command == ("DBSIZE",) else (b"0", [b"a", b"b"]) for command in commands]


async def no_sleep(seconds: float) -> None:
    pass


async def test_a_key_that_failed_in_an_earlier_pass_and_is_gone_now_is_no_failure() -> None:
    failing = True

    async def unlink(keys: Sequence[bytes]) -> tuple[int, dict[bytes, Verdict]]:
        moved = Verdict(Meaning.UNAVAILABLE, "moved", "MOVED 1 127.0.0.1:1")
        return (1, {b"a": moved}) if failing else (2, {})

    walk = Walk(
        Matcher([]),
        Pace(),
        lambda: None,
        lambda progress: None,
        clock=lambda: 0.0,
        cpu=lambda: 0.0,
        sleep=no_sleep,
    )
    progress = Progress()
    await walk.over([Node(Two(), unlink)], Matcher([b"*"]), progress)
    assert (progress.refused, set(progress.failed)) == (1, {b"a"})
    failing = False
    await walk.over([Node(Two(), unlink)], Matcher([b"*"]), progress)
    assert (progress.refused, progress.failed) == (0, {})
    assert (progress.passes, progress.seen, progress.removed) == (2, 2, 3)
