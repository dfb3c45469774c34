"""Tag sets that were taken away, and how they are consumed."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain

from msgspec import Struct, field

from invalidator.redisclient import Command
from invalidator.redisclient.errors import Verdict
from invalidator.redisclient.server import Call, Script, Server, run_id

FINISH = Script.load("finish")
SIDE_BY_SIDE = 64  # sets read at a time
MEMBERS = 4096  # read at a time, over all of them: what bounds our memory
PER_COMMAND = 1000  # members read by one command: a millisecond of the server's time

Unlink = Callable[[Sequence[bytes]], Awaitable[tuple[int, dict[bytes, Verdict]]]]


class Work(Struct, frozen=True):
    """A tag's set that was taken away and is not yet consumed."""

    pointer: bytes
    key: bytes
    kind: bytes  # as TYPE says
    prefix: bytes

    def read(self, cursor: bytes, count: int) -> Command:
        if self.kind == b"set":
            return ("SSCAN", self.key, cursor, "COUNT", count)
        # A score takes the server longer than its member: 3 ms of CPU for 1,000 of them.
        return ("ZSCAN", self.key, cursor, "COUNT", count // 2)

    def members(self, reply: list[bytes]) -> list[bytes]:
        return reply if self.kind == b"set" else reply[::2]  # every other one is a score


class Cursor(Struct, frozen=True):
    """A place in a set. Another process of the server keeps its members in another order."""

    run: bytes | None
    cursor: bytes


START = Cursor(None, b"0")


class Consumed(Struct):
    """What became of tags."""

    existed: int = 0  # members that were really there
    failed: dict[str, Verdict] = field(default_factory=dict)  # tags with a stale member, and why

    def add(self, other: "Consumed") -> None:
        self.existed += other.existed
        self.failed |= other.failed


def works(pointer: bytes, reply: list[bytes]) -> list[Work]:
    """What a pointer names: work keys, each with its type and prefix."""
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return [Work(pointer, key, *value.split(b":", 1)) for key, value in pairs]


class Consumer:
    """Deletes the members of sets, and then the sets."""

    def __init__(
        self, server: Server, unlink: Unlink, registry: tuple[bytes, ...], per_call: int
    ) -> None:
        self._server = server
        self._unlink = unlink
        self._registry = registry
        self._per_call = per_call

    async def finish(self, tags: dict[Work, str], *, keep: bool = False) -> Consumed:
        """Until all members of all are deleted. Each failure is put down to its tag.

        `keep` leaves the work of a tag that failed to the event that comes again: it will say so.
        """
        result = Consumed()
        todo = list(tags)
        for at in range(0, len(todo), SIDE_BY_SIDE):
            cursors = dict.fromkeys(todo[at : at + SIDE_BY_SIDE], START)
            while cursors:
                cursors, ended = await self._step(cursors, tags, result)
                failed = result.failed if keep else {}
                await self._drop([work for work in ended if tags[work] not in failed])
        return result

    async def _step(
        self, cursors: dict[Work, Cursor], tags: dict[Work, str], result: Consumed
    ) -> tuple[dict[Work, Cursor], list[Work]]:
        """Some members of each; returns where to go on with those that have more, and the rest."""
        count = min(PER_COMMAND, MEMBERS // len(cursors))
        commands = (work.read(at.cursor, count) for work, at in cursors.items())
        info, *replies = await self._server.insist([("INFO", "server"), *commands])
        run = run_id(info)
        pages = dict(zip(cursors, replies, strict=True))
        await self._delete({w: w.members(reply[1]) for w, reply in pages.items()}, tags, result)
        following = {
            work: Cursor(run, reply[0]) if cursors[work].run in (run, None) else START
            for work, reply in pages.items()
        }
        # Some servers that are not Redis tell no run_id: then it is empty, and always the same.
        ended = [w for w, at in following.items() if at.run is not None and at.cursor == b"0"]
        return {work: at for work, at in following.items() if work not in ended}, ended

    async def _delete(
        self, found: dict[Work, list[bytes]], tags: dict[Work, str], result: Consumed
    ) -> None:
        keys = {work: [work.prefix + member for member in found[work]] for work in found}
        together = list(dict.fromkeys(chain.from_iterable(keys.values())))
        existed, failed = await self._unlink(together) if together else (0, {})
        result.existed += existed
        for work in keys if failed else ():
            for key in failed.keys() & keys[work]:
                result.failed[tags[work]] = failed[key]

    async def _drop(self, ended: list[Work]) -> None:
        groups = [ended[at : at + self._per_call] for at in range(0, len(ended), self._per_call)]
        calls = [Call([*_pairs(group), *self._registry]) for group in groups]
        await self._server.insist_on(FINISH, calls)


def _pairs(group: list[Work]) -> Iterable[bytes]:
    return chain.from_iterable((work.pointer, work.key) for work in group)
