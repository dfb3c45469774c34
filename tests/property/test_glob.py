"""Redis itself is the oracle: whatever SCAN MATCH finds, and only that."""

import time

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invalidator.targets.redis.glob import escape, literal_prefix
from invalidator.targets.redis.patterns import Matcher

CHARACTERS = [bytes([byte]) for byte in b"ab-]^[\\*?c\n\x00\x7f\x80\xff"]
keys = st.lists(st.sampled_from(CHARACTERS), max_size=8).map(b"".join)
patterns = st.lists(
    st.sampled_from([*CHARACTERS, b"*", b"*", b"?", b"[", b"[^", b"[a-", b"]", b"\\"]), max_size=10
).map(b"".join)
some_keys = st.sets(keys, min_size=1, max_size=30)
some_patterns = st.lists(patterns, min_size=1, max_size=20)


def found_by_redis(server: redis.Redis, names: set[bytes], globs: list[bytes]) -> list[set[bytes]]:
    server.flushdb()
    server.mset(dict.fromkeys(names, "1"))
    found: list[set[bytes]] = []
    for glob in globs:
        _, keys_found = server.scan(match=glob, count=10_000)
        found.append({key for key in keys_found if isinstance(key, bytes)})
    return found


# one server for all examples: each of them empties it first
@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(names=some_keys, globs=some_patterns)
def test_a_glob_matches_exactly_what_redis_matches(
    redis_now: "redis.Redis", names: set[bytes], globs: list[bytes]
) -> None:
    for glob, expected in zip(globs, found_by_redis(redis_now, names, globs), strict=True):
        found = Matcher([glob]).matching(sorted(names))
        if glob.strip(b"*") == b"" and len(glob) > 1:
            found.discard(b"")  # `**` and the empty key: see the module's docstring
        assert found == expected, glob


@settings(max_examples=120)
@given(names=some_keys, globs=some_patterns)
def test_many_patterns_at_once_match_what_each_matches(
    names: set[bytes], globs: list[bytes]
) -> None:
    alone = set().union(*(Matcher([glob]).matching(sorted(names)) for glob in globs))
    matcher = Matcher(globs)
    assert matcher.matching(sorted(names)) == alone
    assert all(name.startswith(matcher.prefix) for name in alone)


def test_thousands_of_values_between_two_stars_hold_up_nothing() -> None:
    matcher = Matcher(b"order:*:u%d:*" % number for number in range(5_000))
    began = time.process_time()
    found = matcher.matching([b"order:list:u%d:page:1" % number for number in range(4_900, 5_900)])
    assert len(found) == 100
    assert time.process_time() - began < 1.0


@given(name=st.binary(max_size=20), other=st.binary(max_size=20))
def test_an_escaped_text_matches_itself_alone(name: bytes, other: bytes) -> None:
    matcher = Matcher([escape(name)])
    assert matcher.matching([name]) == {name}
    assert bool(matcher.matching([other])) is (name == other)
    assert literal_prefix(escape(name) + b"*") == name
