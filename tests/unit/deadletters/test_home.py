"""What the memory section of a server says about the dead letters on it."""

import pytest

from invalidator.deadletters.retention import danger_of, is_among


@pytest.mark.parametrize(
    ("limit", "policy", "is_cache", "said"),
    [
        ("0", "allkeys-lru", True, ""),
        ("100", "allkeys-lru", False, "may evict"),
        ("100", "volatile-lru", False, ""),
        ("100", "noeviction", False, ""),
        ("100", "noeviction", True, "memory limit"),
        ("100", "volatile-ttl", True, "memory limit"),
    ],
)
def test_a_danger_is_told(limit: str, policy: str, is_cache: bool, said: str) -> None:
    memory = f"# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n".encode()
    found = danger_of(memory, is_cache=is_cache)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("url", "other", "same"),
    [
        ("redis://a:1/0", "redis://:pw@A:1/3", True),
        ("redis://a:1/0", "redis://a:2/0", False),
        ("unix:///a.sock", "unix:///a.sock?db=1", True),
        ("unix:///a.sock", "unix:///b.sock", False),
        ("redis+cluster://a:1,b:1", "redis+cluster://b:1,c:1", True),
        ("redis+sentinel://a:1/one", "redis+sentinel://a:1/two", False),
    ],
)
def test_the_same_server_is_known_by_its_address(url: str, other: str, same: bool) -> None:
    assert is_among(url, ["redis://elsewhere:1", other]) is same
