import re
import time

import pytest

from invalidator.targets.redis.glob import common_prefix, compile_glob, escape, literal_prefix
from invalidator.targets.redis.patterns import Matcher

MATCHES = [
    (b"user:*", b"user:1"),
    (b"user:*", b"user:"),
    (b"a?c", b"a\nc"),
    (b"*", b""),
    (b"*", b"\n\x00\xff"),
    (b"[abc]x", b"bx"),
    (b"[^a]x", b"\nx"),
    (b"[c-a]", b"b"),
    (b"[^]", b"q"),
    (b"[ab", b"b"),
    (b"[^", b"q"),
    (b"[a-", b"-"),
    (b"[\\]]", b"]"),
    (b"\\*", b"*"),
    (b"a\\", b"a\\"),
    (b"a-b", b"a-b"),
    (b"*ab*b", b"abb"),
    (b"a*b*c", b"a-b-b-c"),
    (b"[a-\xff]", b"\xff"),
]
MISSES = [
    (b"user:*", b"user"),
    (b"user:*", b"xuser:1"),
    (b"a?c", b"ac"),
    (b"", b"a"),
    (b"[]", b"]"),
    (b"*[", b"["),
    (b"[^a]", b"a"),
    (b"\\*", b"x"),
    (b"user:1", b"user:1\n"),
    (b"ab*ba", b"aba"),
    (b"*ab*b", b"ab"),
    (b"[a-\xff]", b"\x90"),
]


@pytest.mark.parametrize(("pattern", "key"), MATCHES)
def test_what_redis_matches_is_matched(pattern: bytes, key: bytes) -> None:
    assert compile_glob(pattern).match(key)
    assert Matcher([pattern]).matching([key, key + b"\x00?"]) >= {key}


@pytest.mark.parametrize(("pattern", "key"), MISSES)
def test_what_redis_does_not_match_is_left_alone(pattern: bytes, key: bytes) -> None:
    assert not compile_glob(pattern).match(key)
    assert not Matcher([pattern]).matching([key])


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        (b"user:*", b"user:"),
        (b"a\\*b*", b"a*b"),
        (b"a[b]c?", b"abc"),
        (b"a[bc]d", b"a"),
        (b"*", b""),
        (b"plain\\", b"plain\\"),
    ],
)
def test_the_literal_prefix_is_all_that_is_certain(pattern: bytes, prefix: bytes) -> None:
    assert literal_prefix(pattern) == prefix


def test_patterns_share_the_prefix_of_all() -> None:
    assert common_prefix([b"orders:list:1:*", b"orders:list:2:*"]) == b"orders:list:"
    assert common_prefix([b"orders:*", b"users:*"]) == b""
    assert common_prefix([]) == b""


def test_an_escaped_text_matches_itself_alone() -> None:
    text = rb"[a]*?\{x}^-"
    pattern = compile_glob(escape(text))
    assert pattern.match(text)
    assert literal_prefix(escape(text)) == text


def test_no_pattern_takes_exponential_time() -> None:
    began = time.process_time()
    assert not compile_glob(b"*a" * 200 + b"*b").match(b"a" * 5000)
    assert not compile_glob(b"*" + b"a?" * 50 + b"*" + b"[ab]" * 50 + b"*c").match(b"a" * 5000)
    assert time.process_time() - began < 1


def test_many_patterns_are_matched_as_one_by_one() -> None:
    patterns = [b"a:*", b"a:b:*", b"b:*:x", b"b:*:y", b"c?", b"exact", b"*:tail", b"aa*aa"]
    keys = [
        b"a:",
        b"a:b:c",
        b"b:1:x",
        b"b:1:z",
        b"c1",
        b"c12",
        b"exact",
        b"exactly",
        b"x:tail",
        b"aaa",
    ]
    alone = {key for key in keys for each in patterns if compile_glob(each).match(key)}
    assert Matcher(patterns).matching(keys) == alone
    assert alone == {b"a:", b"a:b:c", b"b:1:x", b"c1", b"exact", b"x:tail"}


def test_no_patterns_match_nothing() -> None:
    assert Matcher([]).matching([b"", b"a"]) == set()


def test_patterns_that_differ_only_in_their_ends_share_one_expression() -> None:
    re.purge()
    began = time.process_time()
    Matcher(b"orders:%d:*:page:*:of:%d" % (number, number) for number in range(1000))
    assert time.process_time() - began < 0.5
