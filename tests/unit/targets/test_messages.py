"""The messages of the backplane, and how a listener knows that it missed some."""

import orjson
import pytest

from invalidator.cli.listen import FORGOTTEN_AFTER, Follower, Gap
from invalidator.model import Cause, Names
from invalidator.targets.redis import messages as message
from invalidator.targets.redis.messages import Message, Sender, parse
from tests.pages import TOP, Page

ONE, OTHER = Sender("one", 1), Sender("other", 1)
KAFKA = Cause("kafka", "4be1")


def test_a_message_is_what_the_document_says() -> None:
    (block,) = (
        block for block in Page(TOP / "docs/backplane.md").blocks if block.language == "json"
    )
    shown = orjson.loads(block.text)
    sender, cause = (
        Sender(shown["instance"], shown["epoch"]),
        Cause(shown["source"], shown["rules"]),
    )
    names = Names(keys=set(shown["names"]), tags={"ä"})
    seq, time, cache = shown["seq"], shown["time"], shown["cache"]
    keys, tags = message.applied(sender, seq, time, cause, cache, names)
    said = orjson.loads(keys)
    assert list(said) == list(shown)
    assert said | {"names": sorted(said["names"])} == shown
    assert parse(tags) == Message("applied", sender, seq + 1, time, cache, "tags", ("ä",), cause)


def test_only_a_persons_message_says_who_and_why() -> None:
    by_hand = Cause("purge", "", "ann@laptop", "wrong prices")
    (said,) = message.applied(ONE, 1, 0, by_hand, "default", Names(versions={"v"}))
    assert orjson.loads(said)["who"] == "ann@laptop"
    found = parse(said)
    assert found is not None
    assert found.cause == by_hand


@pytest.mark.parametrize("sign", ["heartbeat", "bye"])
def test_a_sign_of_life_carries_the_last_number(sign: message.Sign) -> None:
    assert parse(message.sign_of_life(sign, ONE, 5, 9)) == Message(sign, ONE, 5, 9)


@pytest.mark.parametrize(
    "raw",
    [b"", b"not json", b"[]", b"null", b'{"v": 2}', b'{"v": 1}', b'{"v":1,"seq":"x"}', b"\xff"],
)
def test_what_is_not_of_this_version_is_passed_over(raw: bytes) -> None:
    assert parse(raw) is None


def test_large_batches_are_split_into_messages_of_bounded_size_with_numbers_of_their_own() -> None:
    names = {f"order:single:{number:020}" for number in range(10_000)} | {"x" * 100_000}
    parts = message.applied(ONE, 1, 0, KAFKA, "default", Names(keys=names))
    found = [orjson.loads(part) for part in parts]
    assert [entry["seq"] for entry in found] == list(range(1, len(parts) + 1))
    assert sorted(name for entry in found for name in entry["names"]) == sorted(names)
    texts = sorted(sum(map(len, entry["names"])) for entry in found)
    assert texts[-2] <= message.MOST_TEXT
    assert len(max(parts, key=len)) < 101_000, "one that is longer stands alone"


# --- gaps ---


class Listener:
    def __init__(self) -> None:
        self.now = 0.0
        self.follower = Follower(lambda: self.now)

    def hear(self, type: message.Type, seq: int, sender: Sender = ONE) -> Gap | None:  # noqa: A002
        return self.follower.read(Message(type, sender, seq, 0))


def test_numbers_without_a_hole_are_no_gap_and_a_hole_says_how_many() -> None:
    listener = Listener()
    assert listener.hear("heartbeat", 0) is None
    assert listener.hear("applied", 1) is None
    assert listener.hear("applied", 2) is None
    assert listener.hear("heartbeat", 2) is None
    assert listener.hear("applied", 5) == Gap(ONE, "missed", 2)
    assert listener.hear("heartbeat", 6) == Gap(ONE, "missed", 1)
    assert listener.hear("heartbeat", 6) is None
    assert listener.hear("bye", 7) == Gap(ONE, "missed", 1)


def test_a_sender_that_has_applied_before_it_was_heard_is_a_gap() -> None:
    listener = Listener()
    assert listener.hear("applied", 1, OTHER) is None
    assert listener.hear("heartbeat", 4) == Gap(ONE, "new")
    assert listener.hear("applied", 5) is None
    assert listener.hear("applied", 1, Sender("one", 2)) is None
    assert listener.hear("applied", 3, Sender("one", 3)) == Gap(Sender("one", 3), "new")


def test_a_number_that_was_heard_before_is_no_gap() -> None:
    listener = Listener()
    listener.hear("applied", 1)
    listener.hear("applied", 2)
    assert listener.hear("applied", 1) is None
    assert listener.hear("applied", 3) is None


def test_a_sender_that_is_not_heard_again_after_the_connection_was_lost_is_a_gap() -> None:
    listener = Listener()
    listener.hear("applied", 1)
    listener.hear("applied", 1, OTHER)
    listener.now = 100
    assert listener.follower.look_around() == []
    listener.follower.reconnected()
    assert listener.hear("heartbeat", 1, OTHER) is None
    listener.now = 102
    assert listener.follower.look_around() == []
    listener.now = 104
    assert listener.follower.look_around() == [Gap(ONE, "silent")]
    assert listener.follower.look_around() == []


def test_a_sender_that_said_goodbye_and_one_long_silent_are_forgotten() -> None:
    listener = Listener()
    listener.hear("applied", 1)
    listener.hear("applied", 1, OTHER)
    listener.hear("bye", 1)
    listener.now = FORGOTTEN_AFTER + 1
    assert listener.follower.look_around() == []
    assert listener.hear("heartbeat", 1) == Gap(ONE, "new")
    assert listener.hear("heartbeat", 1, OTHER) == Gap(OTHER, "new")
