from collections.abc import Sequence

from invalidator.redisclient import Reply
from invalidator.redisclient.server import Call, Script, Server
from invalidator.targets.redis.apply import Versions


class Bumping(Server):
    """Raises all versions."""

    def __init__(self) -> None:
        self.name = "cache"
        self.counts: list[int] = []

    async def run(self, script: Script, calls: Sequence[Call]) -> list[Reply]:
        self.counts += [len(call.keys) for call in calls]
        return [[1] * len(call.keys) for call in calls]


async def test_a_script_raises_few_enough_not_to_block_the_server() -> None:
    server = Bumping()
    assert await Versions(server).bump([f"v{n}" for n in range(250)]) == {}
    assert server.counts == [100, 100, 50]
    server.counts.clear()
    await Versions(server, per_call=1).bump(["a", "b"])
    assert server.counts == [1, 1]
