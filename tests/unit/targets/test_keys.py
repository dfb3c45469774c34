from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import ResponseError

from invalidator.errors import Unavailable
from invalidator.redisclient import Command, Reply
from invalidator.redisclient.server import Server
from invalidator.targets.redis.keys import (
    PER_COMMAND,
    Keys,
    by_slot,
    hash_tag,
    in_order,
    pointer_of,
)

keys = st.lists(st.sampled_from([b"{", b"}", b"a", b"tag:", b"\xff", b"\n"])).map(b"".join)


@given(key=keys.filter(lambda key: key and (hash_tag(key) or b"}" not in key)))
def test_a_pointer_shares_the_slot_of_its_tag(key: bytes) -> None:
    pointer = pointer_of(key)
    assert key_slot(pointer) == key_slot(key)
    assert key_slot(pointer + b":token") == key_slot(key)
    assert pointer.startswith(b"invalidator:work:")


@given(one=keys, other=keys)
def test_no_two_tags_share_a_pointer(one: bytes, other: bytes) -> None:
    assert (pointer_of(one) == pointer_of(other)) is (one == other)


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        (b"tag:{u1}:x", b"u1"),
        (b"tag:x", b""),
        (b"{}tag", b""),
        (b"a{b", b""),
        (b"a}b{c}", b"c"),
        (b"{{a}}", b"{a"),
    ],
)
def test_the_hash_tag_is_what_redis_takes_for_it(key: bytes, tag: bytes) -> None:
    assert hash_tag(key) == tag


@given(names=st.lists(keys, unique=True), most=st.integers(1, 3))
def test_keys_are_divided_by_slot_and_none_is_lost(names: list[bytes], most: int) -> None:
    chunks = by_slot(names, most)
    assert sorted(key for chunk in chunks for key in chunk) == sorted(names)
    assert all(1 <= len(chunk) <= most for chunk in chunks)
    assert all(len({key_slot(key) for key in chunk}) == 1 for chunk in chunks)


def test_where_slots_do_not_matter_keys_keep_their_order() -> None:
    assert in_order(["a", "b", "c"], 2) == [["a", "b"], ["c"]]


class Deleting(Server):
    """Deletes all keys except for those that have an error."""

    def __init__(self, **errors: str) -> None:
        self.name, self.client = "cache", None  # type: ignore[assignment]  # none is needed
        self.errors = errors
        self.sent: list[Command] = []

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        self.sent += commands
        return [self._reply(command) for command in commands]

    def _reply(self, command: Command) -> Reply:
        errors = [self.errors[str(key)] for key in command[1:] if key in self.errors]
        return ResponseError(errors[0]) if errors else len(command) - 1


async def no_sleep(seconds: float) -> None:
    pass


DENIED = "NOPERM No permissions to access a key"


async def test_one_command_has_a_bounded_number_of_keys() -> None:
    server = Deleting()
    assert await Keys(server).unlink([f"k{n}" for n in range(1000)]) == (1000, {})
    assert max(map(len, server.sent)) == 1 + PER_COMMAND == 257


async def test_a_bad_key_does_not_keep_the_others_alive() -> None:
    keys = Keys(Deleting(bad="ERR odd"), sleep=no_sleep)
    existed, failed = await keys.unlink(["a", "bad", "c"])
    assert (existed, {key: verdict.message for key, verdict in failed.items()}) == (
        2,
        {"bad": "ERR odd"},
    )


async def test_the_first_key_ever_may_fail_alone() -> None:
    _, failed = await Keys(Deleting(bad="ERR odd"), sleep=no_sleep).unlink(["bad"])
    assert set(failed) == {"bad"}


async def test_a_forbidden_key_fails_alone_while_others_may_be_deleted() -> None:
    server = Deleting(bad=DENIED)
    keys = Keys(server)
    assert set((await keys.unlink(["a", "bad"]))[1]) == {"bad"}
    assert set((await keys.unlink(["bad"]))[1]) == {"bad"}
    server.errors["a"] = DENIED
    with pytest.raises(Unavailable, match="permissions"):
        await keys.unlink(["bad"])
