"""Tag sets that were claimed, and how they are consumed."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain

from msgspec import Struct, field

from invalidator import layout
from invalidator.redisclient import Command
from invalidator.redisclient.errors import Meaning, Verdict
from invalidator.redisclient.server import Call, Server, run_id
from invalidator.targets.redis import scripts

FINISH = scripts.load("finish")
SIDE_BY_SIDE = 64  # sets read at a time
MEMBERS = 4096  # read at a time, over all of them: this bounds our memory
PER_COMMAND = 1000  # members read by one command: a millisecond of the server's time
OWN = layout.OWN.encode()
NOT_A_CACHE_KEY = Verdict(
    Meaning.PERMANENT,
    "own-name",
    f"a member of the tag begins with {layout.OWN}, which is invalidator's own, and is not deleted",
)

Unlink = Callable[[Sequence[bytes]], Awaitable[tuple[int, dict[bytes, Verdict]]]]


class Work(Struct, frozen=True):
    """A tag's set that was claimed and is not yet consumed."""

    pointer: bytes
    key: bytes
    kind: bytes  # as TYPE says
    prefix: bytes

    def page(self, cursor: bytes, count: int) -> Command:
        scan = "SSCAN" if self.kind == b"set" else "ZSCAN"
        return (scan, self.key, cursor, "COUNT", count)

    def keys(self, reply: list[bytes]) -> list[bytes]:
        members = reply if self.kind == b"set" else reply[::2]  # every other one is a score
        return [self.prefix + member for member in members]


class Cursor(Struct, frozen=True):
    """A position in a set, valid for one process: another one keeps members in another order."""

    run: bytes | None
    cursor: bytes


START = Cursor(None, b"0")


class Consumed(Struct):
    """The result of consuming tags."""

    existed: int = 0  # members that were really there
    failed: dict[str, Verdict] = field(default_factory=dict)  # tags with a stale member, and why

    def add(self, other: "Consumed") -> None:
        self.existed += other.existed
        self.failed |= other.failed


def works(pointer: bytes, reply: list[bytes]) -> list[Work]:
    """Return the work keys that a pointer names, each with its type and prefix."""
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

    async def consume(self, tags: dict[Work, str], *, keep: bool = False) -> Consumed:
        """Delete all members of all sets; each failure is put down to its tag.

        `keep` leaves the work of a tag that failed to the event that is delivered again: that one
        will report it.
        """
        result = Consumed()
        todo = list(tags)
        for at in range(0, len(todo), SIDE_BY_SIDE):
            cursors = dict.fromkeys(todo[at : at + SIDE_BY_SIDE], START)
            while cursors:
                cursors, ended = await self._consume_page(cursors, tags, result)
                failed = result.failed if keep else {}
                await self._drop([work for work in ended if tags[work] not in failed])
        return result

    async def _consume_page(
        self, cursors: dict[Work, Cursor], tags: dict[Work, str], result: Consumed
    ) -> tuple[dict[Work, Cursor], list[Work]]:
        """Delete some members of each set; return the cursors of those with more, and the rest."""
        count = min(PER_COMMAND, MEMBERS // len(cursors))
        commands = (work.page(at.cursor, count) for work, at in cursors.items())
        info, *replies = await self._server.insist([("INFO", "server"), *commands])
        run = run_id(info)
        pages = dict(zip(cursors, replies, strict=True))
        await self._delete({w: w.keys(reply[1]) for w, reply in pages.items()}, tags, result)
        following = {
            work: Cursor(run, reply[0]) if cursors[work].run in (run, None) else START
            for work, reply in pages.items()
        }
        # Some servers that are not Redis report no run_id: then it is always empty.
        ended = [w for w, at in following.items() if at.run is not None and at.cursor == b"0"]
        return {work: at for work, at in following.items() if work not in ended}, ended

    async def _delete(
        self, keys: dict[Work, list[bytes]], tags: dict[Work, str], result: Consumed
    ) -> None:
        together = dict.fromkeys(chain.from_iterable(keys.values()))
        failed = {key: NOT_A_CACHE_KEY for key in together if key.startswith(OWN)}
        if cached := [key for key in together if key not in failed] if failed else [*together]:
            existed, refused = await self._unlink(cached)
            result.existed += existed
            failed |= refused
        for work in keys if failed else ():
            for key in failed.keys() & keys[work]:
                result.failed[tags[work]] = failed[key]

    async def _drop(self, ended: list[Work]) -> None:
        groups = [ended[at : at + self._per_call] for at in range(0, len(ended), self._per_call)]
        calls = [Call([*_pairs(group), *self._registry]) for group in groups]
        await self._server.insist_on(FINISH, calls)


def _pairs(group: list[Work]) -> Iterable[bytes]:
    return chain.from_iterable((work.pointer, work.key) for work in group)
