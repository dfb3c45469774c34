"""What goes to which node of a cluster, and what is sent again elsewhere."""

import pytest
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterError, MovedError, ResponseError, TryAgainError

from invalidator.redisclient import Command, Reply
from invalidator.redisclient.cluster_routing import (
    Call,
    ClusterView,
    RoutedCommands,
    SlotMap,
    To,
    most_common,
    parse_slots,
    redirected_to,
    slot,
    slot_of,
)

A, B, C = "a:1", "b:2", "c:3"
SLOT = slot("{x}")
ASKING = b"*1\r\n$6\r\nASKING\r\n"


def slots(**owners: str) -> SlotMap:
    """All on A but for the slots that are named, as `_5="b:2"`."""
    made = SlotMap(ClusterView(((0, 16383, A),), frozenset({A, B, C})))
    for name, address in owners.items():
        made.moved(int(name[1:]), address)
    return made


def test_each_command_goes_to_the_owner_of_its_slot_in_order() -> None:
    routed = RoutedCommands([("GET", "{x}1"), ("GET", "y"), ("GET", "{x}2")])
    where = slots(**{f"_{SLOT}": B})
    calls = {call.address: call for call in routed.calls(where)}
    assert [calls[B].commands, calls[A].commands] == [[0, 2], [1]]
    assert routed.accept(calls[B], [b"1", b"2"], where)
    assert routed.accept(calls[A], [None], where)
    assert routed.done
    assert routed.replies() == [b"1", None, b"2"]


def test_what_moved_is_sent_again_where_the_reply_says_and_nothing_else_is() -> None:
    routed = RoutedCommands([("UNLINK", "{x}1"), ("UNLINK", "y")])
    where = slots()
    (call,) = routed.calls(where)
    assert not routed.accept(call, [MovedError(f"{SLOT} {B}"), 1], where)
    assert where.owner(SLOT) == B
    (again,) = routed.calls(where)
    assert again == Call(B, [0])
    assert routed.accept(again, [1], where)
    assert routed.replies() == [1, 1]


def test_a_slot_on_its_way_is_asked_for_in_the_same_write() -> None:
    routed = RoutedCommands([("UNLINK", "{x}1"), ("UNLINK", "{x}2")])
    where = slots()
    (call,) = routed.calls(where)
    assert routed.accept(call, [1, AskError(f"{SLOT} {C}")], where)
    assert where.owner(SLOT) == A
    (asking,) = routed.calls(where)
    assert asking == Call(C, [1], asking=True)
    packed = routed.packed(asking)
    assert packed[0] == ASKING
    assert b"{x}2" in packed[1]
    assert routed.accept(asking, [b"OK", 0], where)
    assert routed.replies() == [1, 0]


def test_keys_that_lie_on_both_sides_of_a_move_go_one_by_one() -> None:
    routed = RoutedCommands([("UNLINK", "{x}1", "{x}2", "{x}3"), ("UNLINK", "y")])
    where = slots()
    (call,) = routed.calls(where)
    assert not routed.accept(call, [TryAgainError(""), 1], where)
    (single,) = routed.calls(where)
    assert routed.accept(single, [1, AskError(f"{SLOT} {B}"), 1], where)
    (asking,) = routed.calls(where)
    assert routed.accept(asking, [b"OK", 1], where)
    assert routed.replies() == [3, 1]


def test_other_commands_that_cannot_be_divided_keep_their_error() -> None:
    refused = TryAgainError("")
    routed = RoutedCommands([("MGET", "{x}1", "{x}2")])
    (call,) = routed.calls(slots())
    routed.accept(call, [refused], slots())
    assert routed.done
    assert routed.replies() == [refused]


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        ([b"OK", b"OK"], b"OK"),
        ([b"OK", ResponseError("no")], "no"),
        ([ResponseError("no"), 1], "no"),
    ],
)
def test_scripts_are_taught_to_all_primaries(replies: list[Reply], told: Reply) -> None:
    routed, where = RoutedCommands([("SCRIPT", "LOAD", "x")]), slots(_5=B)
    for call, reply in zip(routed.calls(where), replies, strict=True):
        routed.accept(call, [reply], where)
    (found,) = routed.replies()
    assert (str(found) if isinstance(found, Exception) else found) == told


def test_without_a_primary_for_a_slot_the_cluster_is_not_whole() -> None:
    half = SlotMap(ClusterView(((0, SLOT - 1, A),), frozenset({A})))
    with pytest.raises(ClusterError, match=f"slot {SLOT} of the cluster has no primary"):
        RoutedCommands([("GET", "{x}")]).calls(half)


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (("EVALSHA", "sha", 1, "k", "v"), slot("k")),
        (("XADD", "k", "*", "f", "v"), slot("k")),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "k", ">"), slot("k")),
        (("XGROUP", "CREATE", "k", "g", "$"), slot("k")),
        (("UNLINK", b"a{k}b"), slot("k")),
        (("GET", "{}k"), key_slot(b"{}k")),
        (("PUBLISH", "channel", "m"), To.ANY),
        (("SCRIPT", "LOAD", "x"), To.ALL),
    ],
)
def test_the_key_of_a_command_decides(command: Command, where: int | To) -> None:
    assert slot_of(command) == where


def test_what_is_about_one_node_is_never_asked_of_just_any() -> None:
    with pytest.raises(ValueError, match="SCAN is about one node"):
        slot_of(("SCAN", "0"))


def test_nodes_tell_who_has_which_slots_and_what_most_say_counts() -> None:
    told = [
        [0, 99, [b"h1", 1, b"id1"], [b"h2", 2, b"id2"]],
        [100, 16383, [b"", 3, b"id3"], [None, 4, b"id4"]],
    ]
    view = parse_slots(told, "asked:9")
    assert view.owners == ((0, 99, "h1:1"), (100, 16383, "asked:3"))
    assert view.nodes == {"h1:1", "h2:2", "asked:3", "asked:4"}
    stale = ClusterView(((0, 16383, "h2:2"),), frozenset({"h2:2"}))
    assert most_common([stale, view, view]) == view
    assert SlotMap(view).primaries() == ["asked:3", "h1:1"]
    assert redirected_to(":7", "host:1") == "host:7"
    assert redirected_to("::1:7", "host:1") == "::1:7"
