"""Commands on their way through a cluster: what goes where, and what has to be sent again.

No I/O: `calls` says what to send in the next round, `hear` takes the replies.
"""

import random
from collections.abc import Iterable

from msgspec import Struct
from redis.exceptions import AskError, MovedError, TryAgainError

from invalidator.redisclient.exchange import Command, Reply, pack
from invalidator.redisclient.routing import To, slot_of
from invalidator.redisclient.slotmap import SlotMap, address_of

ASKING = pack(("ASKING",))


class Call(Struct, frozen=True):
    """What one node is to be sent, in one write on one connection."""

    address: str
    commands: list[int]  # their places in the conversation
    asking: bool = False  # each after an ASKING, for slots that are on their way to this node


class Conversation:
    """Ends when each command has a reply that is no redirection."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = list(commands)
        self._packed = [pack(command) for command in self._commands]
        self._slots = [slot_of(command) for command in self._commands]
        self._replies: list[Reply] = [None] * len(self._commands)
        self._waiting = list(range(len(self._commands)))
        self._asking: dict[int, str] = {}  # where a slot is on its way to
        self._parts: dict[int, list[int]] = {}  # a command that was sent again key by key

    @property
    def over(self) -> bool:
        return not (self._waiting or self._asking)

    def calls(self, slots: SlotMap) -> list[Call]:
        """What is to be sent now. Raises an error if a slot has no primary."""
        groups: dict[str, list[int]] = {}
        for at in self._waiting:
            slot = self._slots[at]
            if not isinstance(slot, To):
                groups.setdefault(slots.owner(slot), []).append(at)
            elif slot is To.ANY:
                anyone = random.choice(slots.primaries())  # noqa: S311 - no secret
                groups.setdefault(anyone, []).append(at)
            else:
                for address in slots.primaries():
                    groups.setdefault(address, []).append(at)
        calls = [Call(address, places) for address, places in groups.items()]
        asked: dict[str, list[int]] = {}
        for at, address in self._asking.items():
            asked.setdefault(address, []).append(at)
        calls += [Call(address, places, asking=True) for address, places in asked.items()]
        self._waiting, self._asking = [], {}
        return calls

    def packed(self, call: Call) -> list[bytes]:
        packed = [self._packed[at] for at in call.commands]
        return [part for each in packed for part in (ASKING, each)] if call.asking else packed

    def hear(self, call: Call, replies: list[Reply], slots: SlotMap) -> bool:
        """Whether all is where the slots say."""
        redirected = False
        for at, reply in zip(call.commands, replies[1::2] if call.asking else replies, strict=True):
            if not isinstance(reply, Exception):
                # What goes to all primaries fails when one of them fails.
                if not isinstance(self._replies[at], Exception):
                    self._replies[at] = reply
            elif isinstance(reply, MovedError):
                slots.moved(reply.slot_id, address_of(_where(reply), call.address))
                self._waiting.append(at)
                redirected = True
            elif isinstance(reply, AskError):
                self._asking[at] = address_of(_where(reply), call.address)
            elif isinstance(reply, TryAgainError) and self._divide(at):
                redirected = True
            else:
                self._replies[at] = reply
        return not redirected

    def replies(self) -> list[Reply]:
        for at, parts in self._parts.items():
            heard = [self._replies[part] for part in parts]
            errors = [reply for reply in heard if isinstance(reply, Exception)]
            self._replies[at] = errors[0] if errors else sum(heard)
        return self._replies[: len(self._replies) - sum(map(len, self._parts.values()))]

    def give_up(self, error: Exception) -> None:
        """What has no reply by now has this one."""
        for at in (*self._waiting, *self._asking):
            self._replies[at] = error
        self._waiting, self._asking = [], {}

    def _divide(self, at: int) -> bool:
        """While a slot moves, keys of one command may lie on two nodes: each goes by itself."""
        name, *keys = self._commands[at]
        if name != "UNLINK" or len(keys) == 1:
            return False
        first = len(self._commands)
        self._parts[at] = list(range(first, first + len(keys)))
        self._commands += [("UNLINK", key) for key in keys]
        self._packed += [pack(command) for command in self._commands[first:]]
        self._slots += [self._slots[at]] * len(keys)
        self._replies += [None] * len(keys)
        self._waiting += self._parts[at]
        return True


def _where(error: AskError) -> str:
    return str(error.args[0]).rpartition(" ")[2]
