"""Route commands to the nodes of a cluster, and find what has to be sent again.

No I/O: `calls` says what to send in the next round, `accept` takes the replies.
"""

import random
from binascii import crc_hqx
from collections import Counter
from collections.abc import Iterable
from enum import Enum

from msgspec import Struct
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterError, MovedError, TryAgainError

from invalidator.redisclient.exchange import Command, Reply, pack

SLOTS = 16384
ASKING = pack(("ASKING",))


class To(Enum):
    """The destination of a command without a key."""

    ANY = "any node"
    ALL = "all primaries"


_WITHOUT_KEY = {
    "PUBLISH": To.ANY,
    "TIME": To.ANY,
    "PING": To.ALL,
    "SCRIPT": To.ALL,
    "FUNCTION": To.ALL,
}
# One node of many would answer for itself only: each has to be asked.
_OF_ONE_NODE = frozenset(
    {"CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "INFO", "PUBSUB", "ROLE", "SCAN"}
)
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "FCALL": 3, "XGROUP": 2, "XINFO": 2, "OBJECT": 2, "MEMORY": 2}


def slot_of(command: Command) -> int | To:
    """Return the slot of the command's first key; its other keys must share that slot."""
    name = str(command[0])
    if name in _WITHOUT_KEY:
        return _WITHOUT_KEY[name]
    if name in _OF_ONE_NODE:
        raise ValueError(f"{name} is about one node: ask each of the cluster's nodes")
    at = command.index("STREAMS") + 1 if name in ("XREAD", "XREADGROUP") else _KEY_AT.get(name, 1)
    return slot(command[at])


def slot(key: str | bytes | int) -> int:
    """Return the slot of a key, from 0 to 16383."""
    text = key if isinstance(key, bytes) else str(key).encode()
    # Few keys have a hash tag: this saves half of the time.
    return key_slot(text) if b"{" in text else crc_hqx(text, 0) % SLOTS


# --- the slot map -----------------------------------------------------------------------------


class ClusterView(Struct, frozen=True):
    """The cluster, as one node describes it."""

    owners: tuple[tuple[int, int, str], ...]  # first slot, last slot, address of the primary
    nodes: frozenset[str]  # replicas among them


class SlotMap:
    """The owner of each slot, as far as it is known."""

    def __init__(self, view: ClusterView) -> None:
        self.nodes = view.nodes
        self._owners: list[str | None] = [None] * SLOTS
        for first, last, address in view.owners:
            self._owners[first : last + 1] = [address] * (last + 1 - first)

    def owner(self, slot: int) -> str:
        """Return the primary of a slot. Raises ClusterError while the slot has none."""
        address = self._owners[slot]
        if address is None:
            raise ClusterError(f"slot {slot} of the cluster has no primary")
        return address

    def moved(self, slot: int, address: str) -> None:
        self._owners[slot] = address
        self.nodes |= {address}

    def primaries(self) -> list[str]:
        return sorted({address for address in self._owners if address})


def parse_slots(reply: Reply, asked: str) -> ClusterView:
    """Read the reply to CLUSTER SLOTS. A node without a name of its own is the one we asked."""
    owners: list[tuple[int, int, str]] = []
    nodes: set[str] = set()
    for first, last, *members in reply:
        addresses = [_address(member, asked) for member in members]
        owners.append((first, last, addresses[0]))
        nodes.update(addresses)
    return ClusterView(tuple(sorted(owners)), frozenset(nodes))


def redirected_to(text: str, asked: str) -> str:
    """Return the address in a redirection; without a host, it is on the host that sent it."""
    host, _, port = text.rpartition(":")
    return text if host else f"{asked.rpartition(':')[0]}:{port}"


def _address(member: list[Reply], asked: str) -> str:
    host, port, *_ = member
    return redirected_to(f"{host.decode() if host else ''}:{port}", asked)


def most_common(views: Iterable[ClusterView]) -> ClusterView:
    """Return the view of most nodes: one that was cut off does not know what happened since."""
    ((view, _),) = Counter(views).most_common(1)
    return view


# --- the commands of one call -----------------------------------------------------------------


class Call(Struct, frozen=True):
    """Commands for one node, in one write on one connection."""

    address: str
    commands: list[int]  # their places in what is routed
    asking: bool = False  # each after an ASKING, for slots that are moving to this node


class RoutedCommands:
    """Commands that are sent until each has a reply that is no redirection."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = list(commands)
        self._packed = [pack(command) for command in self._commands]
        self._slots = [slot_of(command) for command in self._commands]
        self._replies: list[Reply] = [None] * len(self._commands)
        self._waiting = list(range(len(self._commands)))
        self._asking: dict[int, str] = {}  # where a slot is moving to
        self._parts: dict[int, list[int]] = {}  # a command that was sent again key by key

    @property
    def done(self) -> bool:
        return not (self._waiting or self._asking)

    def calls(self, slots: SlotMap) -> list[Call]:
        """Return what to send now. Raises ClusterError if a slot has no primary."""
        groups: dict[str, list[int]] = {}
        for at in self._waiting:
            for address in self._addresses(self._slots[at], slots):
                groups.setdefault(address, []).append(at)
        calls = [Call(address, places) for address, places in groups.items()]
        asked: dict[str, list[int]] = {}
        for at, address in self._asking.items():
            asked.setdefault(address, []).append(at)
        calls += [Call(address, places, asking=True) for address, places in asked.items()]
        self._waiting, self._asking = [], {}
        return calls

    def _addresses(self, slot: int | To, slots: SlotMap) -> list[str]:
        if not isinstance(slot, To):
            return [slots.owner(slot)]
        primaries = slots.primaries()
        return primaries if slot is To.ALL else [random.choice(primaries)]  # noqa: S311 - no secret

    def packed(self, call: Call) -> list[bytes]:
        packed = [self._packed[at] for at in call.commands]
        return [part for each in packed for part in (ASKING, each)] if call.asking else packed

    def accept(self, call: Call, replies: list[Reply], slots: SlotMap) -> bool:
        """Take the replies to a call; return whether the slot map was right."""
        redirected = False
        for at, reply in zip(call.commands, replies[1::2] if call.asking else replies, strict=True):
            if isinstance(reply, MovedError):
                slots.moved(reply.slot_id, redirected_to(_target(reply), call.address))
                self._waiting.append(at)
                redirected = True
            elif isinstance(reply, AskError):
                self._asking[at] = redirected_to(_target(reply), call.address)
            elif isinstance(reply, TryAgainError) and self._divide(at):
                redirected = True
            elif not isinstance(self._replies[at], Exception):  # all primaries or none
                self._replies[at] = reply
        return not redirected

    def replies(self) -> list[Reply]:
        for at, parts in self._parts.items():
            replies = [self._replies[part] for part in parts]
            errors = [reply for reply in replies if isinstance(reply, Exception)]
            self._replies[at] = errors[0] if errors else sum(replies)
        return self._replies[: len(self._replies) - sum(map(len, self._parts.values()))]

    def give_up(self, error: Exception) -> None:
        """Reply with this error to every command without a reply."""
        for at in (*self._waiting, *self._asking):
            self._replies[at] = error
        self._waiting, self._asking = [], {}

    def _divide(self, at: int) -> bool:
        """Send each key alone: while a slot moves, those of one command may be on two nodes."""
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


def _target(error: AskError) -> str:
    return str(error.args[0]).rpartition(" ")[2]
