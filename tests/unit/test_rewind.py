"""When a cache may have forgotten something, by who answers for it."""

import pytest

from invalidator.redisclient.identity import Identity
from invalidator.targets.redis.rewind import change, digest

A, B, C = Identity("run-a", "data-a"), Identity("run-b", "data-b"), Identity("run-c", "data-c")
HEIR = Identity("run-d", "data-d", before="data-a")


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"1": A, "2": B}, id="the same"),
        pytest.param({"1": A, "2": B, "3": C}, id="a primary came"),
        pytest.param({"1": A}, id="a primary left"),
        pytest.param({}, id="we may no longer ask"),
    ],
)
def test_nothing_is_forgotten_where_nobody_is_another(now: dict[str, Identity]) -> None:
    assert change({"1": A, "2": B}, now) == ""


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"1": Identity("run-x", "data-x"), "2": B}, "1 is another process now"),
        ({"1": Identity("run-a", "data-x"), "2": B}, "1 has other data now"),
        ({"4": HEIR, "2": B}, "4 took over"),
    ],
)
def test_who_is_another_may_have_forgotten(now: dict[str, Identity], why: str) -> None:
    assert change({"1": A, "2": B}, now).startswith(why)


def test_the_only_server_needs_no_name() -> None:
    assert change({"": A}, {"": B}).startswith("is another process")


def test_servers_have_one_digest_for_as_long_as_they_are_the_same() -> None:
    known = digest([{"1": A, "2": B}, {"": C}])
    assert digest([{"2": B, "1": A}, {"": C}]) == known
    for other in ([{"1": A, "2": C}, {"": C}], [{"1": A}, {"2": B}, {"": C}], [{"1": A, "2": B}]):
        assert digest(other) != known
