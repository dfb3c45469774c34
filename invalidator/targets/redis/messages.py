"""The messages on the backplane's channel; docs/backplane.md is their contract."""

from typing import Any, Final, Literal

import orjson
from msgspec import Struct

from invalidator.model import KINDS, Cause, Kind, Names
from invalidator.runtime.units import by_size

VERSION: Final = 1
MOST_TEXT: Final = 64 * 1024  # characters of names in a message; a longer name has one of its own

Sign = Literal["heartbeat", "bye"]
Type = Sign | Literal["applied"]


class Sender(Struct, frozen=True):
    """The sender of messages. A number is used once in an epoch of an instance."""

    instance: str  # a process
    epoch: int  # its start, Unix milliseconds


class Message(Struct, frozen=True):
    """One message, as a listener sees it."""

    type: Type
    sender: Sender
    seq: int  # its own number for `applied`, else the last one used
    time: int  # Unix milliseconds
    cache: str = ""
    kind: Kind | None = None
    names: tuple[str, ...] = ()
    cause: Cause | None = None


def sign_of_life(sign: Sign, sender: Sender, seq: int, time: int) -> bytes:
    return orjson.dumps(_head(sign, sender, seq, time))


def applied(
    sender: Sender, seq: int, time: int, cause: Cause, cache: str, names: Names
) -> list[bytes]:
    """Return one message or several, numbered from `seq` on.

    Redis drops a listener that lags by megabytes, so messages are small.
    """
    parts = [(kind, part) for kind in KINDS for part in by_size(getattr(names, kind), MOST_TEXT)]
    more = {"who": cause.who, "why": cause.why} if cause.who else {}
    return [
        orjson.dumps(
            {
                **_head("applied", sender, seq + at, time),
                "cache": cache,
                "kind": kind,
                "names": part,
                "source": cause.source,
                "rules": cause.rules,
                **more,
            }
        )
        for at, (kind, part) in enumerate(parts)
    ]


def parse(raw: bytes) -> Message | None:
    """Parse a message; None if it is not of this version: others may publish there, too."""
    try:
        found = orjson.loads(raw)
        return _message(found) if found["v"] == VERSION else None
    except (ValueError, KeyError, TypeError):
        return None


def _message(found: dict[str, Any]) -> Message:
    sender = Sender(str(found["instance"]), int(found["epoch"]))
    seq, time = int(found["seq"]), int(found["time"])
    if found["type"] != "applied":
        return Message("bye" if found["type"] == "bye" else "heartbeat", sender, seq, time)
    cause = Cause(found["source"], found["rules"], found.get("who", ""), found.get("why", ""))
    names = tuple(map(str, found["names"]))
    return Message("applied", sender, seq, time, found["cache"], found["kind"], names, cause)


def _head(kind: Type, sender: Sender, seq: int, time: int) -> dict[str, object]:
    return {
        "v": VERSION,
        "type": kind,
        "instance": sender.instance,
        "epoch": sender.epoch,
        "seq": seq,
        "time": time,
    }
