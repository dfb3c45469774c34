"""When a cache may have lost writes, judged by the identities of its servers."""

import pytest

from invalidator.targets.redis.failover import Identity, describe_change, digest

A, B, C = Identity("run-a", "data-a"), Identity("run-b", "data-b"), Identity("run-c", "data-c")


def test_servers_that_stay_the_same_have_lost_nothing() -> None:
    assert describe_change({"1": A, "2": B}, {"2": B, "1": A}) == ""
    assert digest([{"1": A, "2": B}, {"": C}]) == digest([{"2": B, "1": A}, {"": C}])


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"1": Identity("run-x", "data-x"), "2": B}, "1 is another process now"),
        ({"1": Identity("run-a", "data-x"), "2": B}, "1 has other data now"),
        ({"1": A, "2": B, "4": C}, "4 took over"),
        ({"1": A}, "2 is no longer a primary"),
    ],
)
def test_a_server_that_changed_may_have_lost_writes(now: dict[str, Identity], why: str) -> None:
    before = {"1": A, "2": B}
    assert describe_change(before, now).startswith(why)
    assert digest([now]) != digest([before])


def test_the_only_server_needs_no_name() -> None:
    assert describe_change({"": A}, {"": B}).startswith("is another process")


def test_the_same_servers_in_another_redis_have_another_digest() -> None:
    assert digest([{"": A}, {"": B}]) != digest([{"": B}, {"": A}])
