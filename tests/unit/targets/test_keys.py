import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from invalidator.targets.redis.keys import by_slot, hash_tag, in_order, pointer_beside

keys = st.lists(st.sampled_from([b"{", b"}", b"a", b"tag:", b"\xff", b"\n"])).map(b"".join)


@given(key=keys.filter(lambda key: key and (hash_tag(key) or b"}" not in key)))
def test_a_pointer_shares_the_slot_of_its_tag(key: bytes) -> None:
    pointer = pointer_beside(key)
    assert key_slot(pointer) == key_slot(key)
    assert key_slot(pointer + b":token") == key_slot(key)
    assert pointer.startswith(b"invalidator:work:")


@given(one=keys, other=keys)
def test_no_two_tags_share_a_pointer(one: bytes, other: bytes) -> None:
    assert (pointer_beside(one) == pointer_beside(other)) is (one == other)


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
