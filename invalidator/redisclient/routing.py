"""Which node of a cluster a command is for: the slot of its key says."""

from binascii import crc_hqx
from enum import Enum

from redis.crc import key_slot

from invalidator.redisclient.exchange import Command

SLOTS = 16384


class To(Enum):
    """Where a command without a key goes."""

    ANY = "any node"
    ALL = "all primaries"


_WITHOUT_KEY = {
    "PUBLISH": To.ANY,
    "TIME": To.ANY,
    "PING": To.ALL,
    "SCRIPT": To.ALL,
    "FUNCTION": To.ALL,
}
# What one node of many would answer is not what was asked: each has to be asked by itself.
_OF_ONE_NODE = frozenset(
    {"CLIENT", "CLUSTER", "CONFIG", "DBSIZE", "INFO", "PUBSUB", "ROLE", "SCAN"}
)
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "FCALL": 3, "XGROUP": 2, "XINFO": 2, "OBJECT": 2, "MEMORY": 2}


def slot_of(command: Command) -> int | To:
    """Of its first key: the others must share its slot."""
    name = str(command[0])
    if name in _WITHOUT_KEY:
        return _WITHOUT_KEY[name]
    if name in _OF_ONE_NODE:
        raise ValueError(f"{name} is about one node: ask each of the cluster's nodes")
    at = command.index("STREAMS") + 1 if name in ("XREAD", "XREADGROUP") else _KEY_AT.get(name, 1)
    return slot(command[at])


def slot(key: str | bytes | int) -> int:
    """From 0 to 16383."""
    text = key if isinstance(key, bytes) else str(key).encode()
    # Few keys have a hash tag: this saves half of the time.
    return key_slot(text) if b"{" in text else crc_hqx(text, 0) % SLOTS
