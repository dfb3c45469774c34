import time

import pytest

from invalidator.errors import ConfigError
from invalidator.targets.redis.glob import common_prefix, escape, literal_prefix
from invalidator.targets.redis.patterns import MOST, Matcher, protected

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
    assert Matcher([pattern]).matching([key, key + b"\x00?"]) >= {key}


@pytest.mark.parametrize(("pattern", "key"), MISSES)
def test_what_redis_does_not_match_is_left_alone(pattern: bytes, key: bytes) -> None:
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
    assert Matcher([escape(text)]).matching([text, b"a*?x^-"]) == {text}
    assert literal_prefix(escape(text)) == text


def test_no_pattern_takes_exponential_time() -> None:
    began = time.process_time()
    assert not Matcher([b"*a" * 200 + b"*b"]).matching([b"a" * 5000])
    slow = b"*" + b"a?" * 50 + b"*" + b"[ab]" * 50 + b"*c"
    assert not Matcher([slow]).matching([b"a" * 5000])
    assert time.process_time() - began < 5


def test_no_patterns_match_nothing() -> None:
    assert Matcher([]).matching([b"", b"a"]) == set()


def test_a_key_with_a_line_break_is_one_key() -> None:
    keys = [b"a", b"b\nab", b"ab", b"\n", b""]
    assert Matcher([b"a*", b"*b"]).matching(keys) == {b"a", b"b\nab", b"ab"}
    assert Matcher([b"b\n[^x]*b", b"?"]).matching(keys) == {b"a", b"b\nab", b"\n"}
    assert Matcher([b"x?", b"*y"]).matching([b"\n"]) == set()


def test_one_pattern_may_have_more_stars_than_a_regular_expression_may_nest() -> None:
    twins = [b"a*" * 1500 + b"b", b"a*" * 1500 + b"c"]
    assert Matcher(twins).matching([b"a" * 1500 + b"c", b"a" * 1499 + b"c"]) == {b"a" * 1500 + b"c"}


def test_more_patterns_than_one_expression_takes_are_matched_by_several() -> None:
    count = 3 * MOST // len(b"k00000:*:x")
    matcher = Matcher(b"k%05d:*:x" % number for number in range(count))
    keys = [b"k%05d:a:x" % number for number in (0, count // 2, count - 1, count)]
    assert matcher.matching(keys) == set(keys[:3])


def test_tags_versions_our_own_keys_and_what_people_ask_for_are_protected() -> None:
    matcher = protected(["tag:{tag}", "cache:version:{name}", "a:{{tag}}:b"], ["lock:*"])
    keys = [b"tag:x", b"cache:version:", b"a:{x}:b", b"lock:1", b"invalidator:dead"]
    assert matcher.matching([*keys, b"user:1", b"cache:x", b"a:x:b"]) == set(keys)


def test_a_template_is_no_glob() -> None:
    assert protected(["t[a]?{tag}"], []).matching([b"t[a]?x", b"taxx"]) == {b"t[a]?x"}


@pytest.mark.parametrize(("template", "pattern"), [("{tag}", "a:*"), ("tag:{tag}", "**")])
def test_protecting_everything_is_a_mistake(template: str, pattern: str) -> None:
    with pytest.raises(ConfigError):
        protected([template], [pattern])
