"""Which node has which slot, as the nodes of a cluster tell it."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct
from redis.exceptions import ClusterError

from invalidator.redisclient.exchange import Reply
from invalidator.redisclient.routing import SLOTS

Owners = tuple[tuple[int, int, str], ...]  # first slot, last slot, address of the primary


class Said(Struct, frozen=True):
    """What one node says of the cluster."""

    owners: Owners
    nodes: frozenset[str]  # replicas among them


class SlotMap:
    """The owner of each slot, as far as it is known."""

    def __init__(self, said: Said) -> None:
        self.nodes = said.nodes
        self._owners: list[str | None] = [None] * SLOTS
        for first, last, address in said.owners:
            self._owners[first : last + 1] = [address] * (last + 1 - first)

    def owner(self, slot: int) -> str:
        """Raises an error that means: the cluster is not whole for now."""
        address = self._owners[slot]
        if address is None:
            raise ClusterError(f"slot {slot} of the cluster has no primary")
        return address

    def moved(self, slot: int, address: str) -> None:
        self._owners[slot] = address
        self.nodes |= {address}

    def primaries(self) -> list[str]:
        return sorted({address for address in self._owners if address})


def read(reply: Reply, asked: str) -> Said:
    """The reply to CLUSTER SLOTS. A node that does not know its own name is the one we asked."""
    owners: list[tuple[int, int, str]] = []
    nodes: set[str] = set()
    for first, last, *members in reply:
        addresses = [_address(member, asked) for member in members]
        owners.append((first, last, addresses[0]))
        nodes.update(addresses)
    return Said(tuple(sorted(owners)), frozenset(nodes))


def address_of(text: str, asked: str) -> str:
    """Where a redirection leads; without a host, it is the host that sent it."""
    host, _, port = text.rpartition(":")
    return text if host else f"{asked.rpartition(':')[0]}:{port}"


def _address(member: list[Reply], asked: str) -> str:
    host, port, *_ = member
    return address_of(f"{host.decode() if host else ''}:{port}", asked)


def common(answers: Iterable[Said]) -> Said:
    """What most say: a node that was cut off from the others does not know what happened since."""
    ((said, _),) = Counter(answers).most_common(1)
    return said
