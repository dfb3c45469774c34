import pytest

from invalidator.targets.redis.moved import Place, moved, own_line, place_of

NODES = (
    b"07c 127.0.0.1:30004@31004,host4 slave e7d 0 1426238317239 4 connected\n"
    b"e7d 127.0.0.1:30001@31001,host1 myself,master - 0 0 1 connected 0-5460 5462 "
    b"[93-<-292] [77->-e7d]\n"
    b"292 :0@0 master,fail - 1 0 3 disconnected 10923-16383\n"
    b"6ec 127.0.0.1:30005@31005 master - 0 1 5 connected\n"
)


def test_a_nodes_own_line_says_which_slots_it_has_and_which_are_moving() -> None:
    assert place_of(b"run", own_line(NODES)) == Place(
        b"run", frozenset({b"0-5460", b"5462"}), frozenset({b"[93-<-292]", b"[77->-e7d]"})
    )


A = Place(b"run", frozenset({b"0-16383"}))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({"a": A}, ""),
        ({"a": A, "b": A}, "came or went"),
        ({"a": Place(b"other", A.slots)}, "another process"),
        ({"a": Place(b"run", frozenset({b"0-9"}))}, "other slots"),
        ({"a": Place(b"run", A.slots, frozenset({b"[1->-x]"}))}, "moving slots"),
    ],
)
def test_whatever_may_hide_a_key_from_a_walk_is_noticed(
    after: dict[str, Place], reason: str
) -> None:
    assert reason in moved({"a": A}, after)
    assert bool(moved({"a": A}, after)) is bool(reason)


def test_a_slot_that_was_open_before_and_after_is_noticed() -> None:
    half = {"a": Place(b"run", A.slots, frozenset({b"[1->-x]"}))}
    assert moved(half, half)
