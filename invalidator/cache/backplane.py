"""Announcements of invalidations, received and sent: docs/backplane.md is their contract."""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec
import orjson
from msgspec import Struct

from invalidator import layout
from invalidator.cache.l1 import L1, SILENCE
from invalidator.cache.process import Process
from invalidator.cache.scripts import Command

VERSION: Final = 1
HEARING: Final = 3.0  # seconds after subscribing, in which every sender learns that we listen
PING: Final = 1.0  # seconds of silence, after which the link is tried
MOST_TEXT: Final = 64 * 1024  # characters of names in a message
MOST_SENDERS: Final = 10_000  # that are remembered

Announced = Literal["keys", "tags", "versions", "patterns"]


class Message(Struct):
    """Holds what a listener needs of a message."""

    v: int
    type: str
    instance: str
    epoch: int
    seq: int
    kind: str = ""
    names: Sequence[str] = ()


_decode = msgspec.json.Decoder(Message).decode


class Follower:
    """Keeps an L1 honest: drops what is announced, and everything where something was missed."""

    def __init__(self, l1: L1, here: Process) -> None:
        self._l1 = l1
        self._here = here
        self._senders: dict[tuple[str, int], int] = {}  # -> the last number
        self._subscribed_at = 0.0
        self.heard_at = 0.0

    def subscribed(self) -> None:
        """Note that from now on every message is received."""
        self._senders.clear()
        self._subscribed_at = self._l1.clock()
        self.alive()

    def lost(self) -> None:
        self._l1.end()

    def alive(self) -> None:
        """Note a sign of life of the link."""
        self.heard_at = now = self._l1.clock()
        self._l1.trusted_until = now + SILENCE
        if not self._l1.on and now - self._subscribed_at >= HEARING:
            self._l1.begin()

    def silent_for(self) -> float:
        return self._l1.clock() - self.heard_at

    def hear(self, raw: bytes) -> None:
        """Read a message; others may publish there, too."""
        self.alive()
        try:
            message = _decode(raw)
        except msgspec.DecodeError:
            return
        if message.v != VERSION:
            return
        applied = message.type == "applied"
        sender = (message.instance, message.epoch)
        last, before = self._senders.get(sender, 0), message.seq - applied
        if message.type == "bye":
            self._senders.pop(sender, None)
        elif last < message.seq or sender not in self._senders:
            self._note(sender, message.seq)
        if before > last:
            self._l1.gap()
        if applied:
            self.drop(message.kind, message.names)

    def _note(self, sender: tuple[str, int], number: int) -> None:
        if len(self._senders) >= MOST_SENDERS:
            self._senders.clear()  # each shows as a gap when it is heard again
        self._senders[sender] = number

    def drop(self, kind: str, names: Sequence[str]) -> None:
        """Drop what these names invalidate."""
        if kind == "patterns":
            self._l1.drop_patterns(names)
        else:
            self._l1.drop(keys_of(kind, names, self._here))


def keys_of(kind: str, names: Sequence[str], here: Process) -> Sequence[str]:
    """Return the Redis keys behind the names of an announcement."""
    if kind == "tags":
        return [here.stamp.replace("{tag}", name) for name in names]
    if kind == "versions":
        return [here.version.replace("{name}", name) for name in names]
    return names


class Sender:
    """Numbers the announcements of one process. A number is never used twice."""

    def __init__(self) -> None:
        self._process = 0
        self._instance = ""
        self._epoch = self._seq = 0

    def commands(self, kind: Announced, names: Sequence[str]) -> Iterator[Command]:
        """Return the commands that announce names; each is sent before the next one is made."""
        for part in _parts(names):
            yield ("PUBLISH", layout.APPLIED, self._message(kind, part))

    def _message(self, kind: Announced, names: Sequence[str]) -> bytes:
        now = int(time.time() * 1000)
        if self._process != os.getpid():  # the first one, or a fork
            self._process, self._instance = os.getpid(), secrets.token_hex(8)
            self._epoch, self._seq = now, 0
        self._seq += 1
        return orjson.dumps(
            {
                "v": VERSION,
                "type": "applied",
                "instance": self._instance,
                "epoch": self._epoch,
                "seq": self._seq,
                "time": now,
                "cache": "",
                "kind": kind,
                "names": names,
                "source": "service",
                "rules": "",
            }
        )


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    """Split names into messages of a bounded size; a longer name has one of its own."""
    part: list[str] = []
    text = 0
    for name in names:
        if part and text + len(name) > MOST_TEXT:
            yield part
            part, text = [], 0
        part.append(name)
        text += len(name)
    if part:
        yield part
