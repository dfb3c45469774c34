"""The copies in the process: what is kept, what is dropped, what has to go."""

from typing import Any

import orjson
import pytest

from invalidator.cache import CacheError, Codec, Kind, json_codec
from invalidator.cache.backplane import HEARING, MOST_TEXT, Follower, Sender
from invalidator.cache.entry import Frame, Names
from invalidator.cache.kinds import Policy
from invalidator.cache.l1 import L1, NOTHING, SILENCE, Mark
from invalidator.cache.process import Process, Spec
from invalidator.cache.scripts import Command

INT = json_codec(int)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Room:
    """An L1 with a link, and readers of it."""

    def __init__(self, codec: Codec = INT, *, entries: int = 100, size: int = 1 << 20) -> None:
        self.clock = Clock()
        self.l1 = L1(entries=entries, bytes=size, clock=self.clock)
        self.here = Process(self.clock)
        self.follower = Follower(self.l1, self.here)
        self.spec = Spec(Kind(l1_ttl="30s", stale_if_error="1h").over(Policy()), codec)

    def up(self) -> "Room":
        self.follower.subscribed()
        self.pass_time(HEARING)
        return self

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            self.clock.now += min(seconds, 1.0)
            seconds -= 1.0
            self.follower.alive()

    def began(self, key: str, *stamps: str) -> Mark | None:
        return self.l1.began(Names(key, stamps))

    def ended(self, mark: Mark | None, key: str, *stamps: str, value: int = 1) -> None:
        names = Names(key, stamps)
        found = [b"s" * 16 for _ in stamps]
        line = names.line(found) or b""
        payload = self.spec.codec.encode(value)
        fresh = 1000 * self.clock.now + 60_000
        entry = Frame(payload, b"J-", b"A" * 16, line, fresh).encoded()
        if mark is not None:
            self.l1.ended(mark, names, self.spec, self.here, [entry, *found])

    def read(self, key: str, *stamps: str, value: int = 1) -> None:
        """Read an entry that is in Redis."""
        self.ended(self.began(key, *stamps), key, *stamps, value=value)

    def look(self, key: str, *stamps: str) -> object:
        return self.l1.look(key, stamps, self.spec)

    def hear(self, kind: str, *names: str, seq: int = 1, sender: str = "a") -> None:
        said = {"v": 1, "type": "applied", "instance": sender, "epoch": 1, "seq": seq, "new": 1}
        self.follower.hear(orjson.dumps({**said, "kind": kind, "names": names}))

    def beat(self, seq: int, sender: str = "a", sign: str = "heartbeat") -> None:
        said = {"v": 1, "type": sign, "instance": sender, "epoch": 1, "seq": seq}
        self.follower.hear(orjson.dumps(said))


STAMP, VERSION = "invalidator:stamp:t", "cache:version:v"


def test_nothing_is_kept_before_every_sender_knows_that_we_listen() -> None:
    room = Room()
    room.read("k")
    room.follower.subscribed()
    room.pass_time(HEARING - 1)
    room.read("k")
    assert room.look("k") is NOTHING
    room.pass_time(1)
    room.read("k")
    assert room.look("k") == 1


def test_a_read_that_began_while_nothing_was_kept_keeps_nothing_later() -> None:
    room = Room()
    room.follower.subscribed()
    mark = room.began("k")
    room.pass_time(HEARING)
    room.ended(mark, "k")
    assert (room.l1.on, room.look("k")) == (True, NOTHING)


@pytest.mark.parametrize(
    ("kind", "name", "dropped"),
    [
        ("keys", "k", True),
        ("keys", "other", False),
        ("keys", STAMP, True),
        ("tags", "t", True),
        ("tags", "u", False),
        ("versions", "v", True),
        ("patterns", "k*", True),
        ("patterns", "*", True),
        ("patterns", "k[ab]", True),
        ("patterns", "z*", False),
    ],
)
@pytest.mark.parametrize("under_way", [False, True])
def test_an_announcement_drops_copies_and_reads_under_way(
    kind: str, name: str, dropped: bool, under_way: bool
) -> None:
    room = Room().up()
    mark = room.began("k", STAMP, VERSION)
    if not under_way:
        room.ended(mark, "k", STAMP, VERSION)
    room.hear(kind, name)
    if under_way:
        room.ended(mark, "k", STAMP, VERSION)
        assert room.l1.stats.refused == dropped
    assert room.look("k", STAMP, VERSION) is (NOTHING if dropped else 1) or not dropped
    assert len(room.l1) == (not dropped)
    assert room.l1._marks == {}
    assert bool(room.l1._dependents) is not dropped


def test_a_number_that_is_missing_drops_everything() -> None:
    room = Room().up()
    room.beat(0)
    room.hear("keys", "x", seq=1)
    room.read("k")
    assert room.look("k") == 1
    mark = room.began("j")
    room.hear("keys", "x", seq=3)
    room.ended(mark, "j")
    assert (room.look("k"), room.look("j")) == (NOTHING, NOTHING)
    room.read("k")
    room.hear("keys", "x", seq=2)  # late
    room.beat(3)
    room.beat(3, sign="bye")
    assert room.look("k") == 1
    room.beat(4)
    assert (room.look("k"), room.l1.stats.gaps) == (NOTHING, 2)


def test_a_sender_that_is_new_drops_everything_unless_it_begins() -> None:
    room = Room().up()
    room.read("k")
    room.hear("keys", "x", seq=1, sender="b")
    room.beat(0, sender="c")
    assert room.look("k") == 1
    room.beat(7, sender="d")
    assert room.look("k") is NOTHING


def test_a_link_that_is_lost_drops_everything_until_it_has_been_up_for_a_while() -> None:
    room = Room().up()
    room.read("k")
    mark = room.began("j")
    room.follower.lost()
    room.ended(mark, "j")
    room.read("k")
    assert (room.look("k"), len(room.l1)) == (NOTHING, 0)
    room.up()
    assert room.look("k") is NOTHING
    room.read("k")
    assert room.look("k") == 1


def test_a_link_that_is_silent_is_not_trusted() -> None:
    room = Room().up()
    room.read("k")
    room.clock.now += SILENCE
    assert room.look("k") is NOTHING


def test_no_copy_is_older_than_its_kind_allows() -> None:
    room = Room().up()
    room.read("k")
    room.pass_time(29)
    assert room.look("k") == 1
    room.pass_time(1)
    assert room.look("k") is NOTHING


def test_no_copy_outlives_the_value() -> None:
    room = Room().up()
    room.spec.policy = Kind(l1_ttl="1h").over(Policy())
    room.read("k")
    room.pass_time(61)
    assert room.look("k") is NOTHING


def test_what_depends_on_other_tags_or_has_another_schema_is_another_entry() -> None:
    room = Room().up()
    room.read("k", STAMP)
    assert room.look("k") == 1  # read with a tag more: its loads named it
    assert room.look("k", VERSION) is NOTHING
    room.spec.policy = Kind(schema=2).over(room.spec.policy)
    assert room.look("k", STAMP) is NOTHING


def test_the_number_and_the_size_are_bounded() -> None:
    room = Room(entries=3).up()
    for number in range(5):
        room.read(f"k{number}")
    assert (len(room.l1), room.l1.stats.evicted) == (3, 2)
    room = Room(size=2_000).up()
    for number in range(5):
        room.read(f"k{number}", STAMP)
    assert len(room.l1) == 3
    assert room.l1.bytes <= 2_000
    room = Room(size=100).up()
    room.read("k")
    assert len(room.l1) == 0
    with pytest.raises(CacheError):
        L1(entries=0)


def test_what_is_read_again_stays() -> None:
    room = Room(entries=3).up()
    for key in ("hot", "a", "b"):
        room.read(key)
    for number in range(10):
        assert room.look("hot") == 1
        room.read(f"once{number}")
    assert room.look("hot") == 1
    assert room.look("b") is NOTHING


def test_bounds_hold_whatever_happens() -> None:
    room = Room(entries=4).up()
    for number in range(200):
        key = f"k{number * 7 % 11}"
        room.read(key, STAMP) if number % 3 else room.read(key)
        room.look(f"k{number * 5 % 11}", STAMP)
        if number % 5 == 0:
            room.hear("keys", f"k{number * 3 % 11}", seq=number // 5 + 1)
        copies, at = [], room.l1._oldest
        while at is not None:
            copies.append(at)
            at = at.newer
        assert {id(copy) for copy in copies} == {id(copy) for copy in room.l1._copies.values()}
        assert sum(copy.size for copy in copies) == room.l1.bytes
        assert len(copies) <= 4


def test_readers_share_an_object_only_where_the_kind_says_so() -> None:
    room = Room(json_codec(list[int])).up()
    room.ended(room.began("k"), "k", value=[1])  # type: ignore[arg-type]
    first = room.look("k")
    assert (first, room.look("k") is first) == ([1], False)
    room.spec.policy = Kind(share=True).over(room.spec.policy)
    first = room.look("k")
    assert room.look("k") is first


def test_what_was_there_when_the_link_was_lost_is_set_aside() -> None:
    room = Room().up()
    room.read("k")
    room.read("gone")
    room.hear("keys", "gone")
    room.follower.lost()
    names = Names("k")
    assert room.l1.last(names, room.spec) == 1
    assert room.l1.last(Names("gone"), room.spec) is NOTHING
    room.clock.now += 3600
    assert room.l1.last(names, room.spec) == 1
    room.clock.now += 61
    assert room.l1.last(names, room.spec) is NOTHING
    room.up()
    assert room.l1._last == {}


def test_what_others_publish_is_ignored() -> None:
    room = Room().up()
    room.read("k")
    for raw in (b"", b"{", b"[]", b'{"v":2,"type":"applied","instance":"a","epoch":1,"seq":9}'):
        room.follower.hear(raw)
    assert room.look("k") == 1


def _said(command: Command) -> Any:
    assert isinstance(command[2], bytes)
    return orjson.loads(command[2])


def test_announcements_are_numbered_and_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Sender()
    long = "n" * (MOST_TEXT - 1)
    commands = [*sender.commands("keys", ["a", long, "b"]), *sender.commands("tags", ["t"])]
    said = [_said(command) for command in commands]
    assert [(each["seq"], each["kind"]) for each in said] == [
        (1, "keys"),
        (2, "keys"),
        (3, "tags"),
    ]
    assert [each["names"] for each in said] == [["a", long], ["b"], ["t"]]
    monkeypatch.setattr("os.getpid", lambda: -1)
    (command,) = sender.commands("keys", ["a"])
    after_a_fork = _said(command)
    assert after_a_fork["seq"] == 1
    assert after_a_fork["instance"] != said[0]["instance"]
