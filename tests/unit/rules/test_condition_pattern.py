"""matches(): what patterns mean, which are rejected, and that hostile text costs little."""

import re
import time

import pytest

from invalidator.rules.condition import ConditionError
from invalidator.rules.condition.pattern import MAX_SUBJECT, Pattern, PatternError
from tests.conditions import function

MEANINGS = [
    ("", ["", "a"], []),
    ("b", ["b", "abc"], ["", "a"]),
    ("^a", ["a", "ab"], ["ba"]),
    ("a$", ["a", "ba"], ["ab", "a\n"]),
    ("$", ["", "a"], []),
    ("^$", [""], ["a", "\n"]),
    (r"\Aa\z", ["a"], ["ab", "ba"]),
    ("^(a|bc)*$", ["", "a", "bca", "abcbc"], ["b", "ab"]),
    ("^a|b$", ["ax", "xb"], ["xa", "bx"]),
    ("(^a|b)c", ["ac", "xbc"], ["xac"]),
    ("^a?$", ["", "a"], ["aa"]),
    ("^a+?$", ["a", "aa"], [""]),
    ("^a{2}$", ["aa"], ["a", "aaa"]),
    ("^a{1,2}$", ["a", "aa"], ["", "aaa"]),
    ("^a{2,}$", ["aa", "aaaa"], ["a"]),
    ("^a{0}b$", ["b"], ["ab"]),
    ("^(a*)*$", ["", "aaa"], ["b"]),
    ("^.$", ["a", "é", "🎉"], ["", "\n", "ab"]),
    ("(?s)^.$", ["\n"], [""]),
    ("(?i)^abc[x-z]$", ["ABCX", "abcz"], ["abca"]),
    ("(?i)É", ["é", "É"], ["e"]),
    ("(?i)[^a-z]", ["1", "É"], ["a", "Z"]),
    ("(?i)^[^A]$", ["b"], ["a", "A"]),
    ("a(?i)b", ["aB"], ["Ab"]),
    ("(?m)^a$", ["b\na\nb"], ["ba"]),
    (r"\bword", ["a word"], ["sword"]),
    (r"^\p{L}{1,64}$", ["é"], ["1", ""]),
    ("^[[:alpha:]]$", ["a"], ["1", "é"]),
    ("^.[^x]$", ["\ud83da", "a\udc00"], ["\udc00x"]),
    ("a\0b", ["a\0b"], ["ab"]),
    ("a{", ["a{"], ["a"]),
    ("^[a-c_-]+$", ["ab_-c"], ["d"]),
    ("^[]a]$", ["]", "a"], ["b"]),
    ("^[^a-c]$", ["d", "\n"], ["a", ""]),
    (r"^[\d.]+$", ["1.2"], ["a"]),
    (r"^[\]\\]+$", ["]\\"], ["["]),
    (r"^\d\w\s$", ["1a ", "1_\t"], ["a1 ", "1é "]),
    (r"^\D\W\S$", ["a-b", "é!é"], ["1-b"]),
    (r"^\x41\x{1F600}\t\.$", ["A😀\t."], ["A😀\tx"]),
    ("(?P<year>[0-9]{4})-(?<month>[0-9]{2})", ["2024-05"], ["24-05"]),
    ("^(?:ab){2}$", ["abab"], ["ab"]),
    ("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
     ["0b1c2d3e-0000-4000-8000-0123456789ab"], ["0b1c2d3e-0000-4000-8000-0123456789a"]),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "yes", "no"), MEANINGS)
def test_a_pattern_means_what_it_means_in_re2(pattern: str, yes: list[str], no: list[str]) -> None:
    own = Pattern(pattern)
    assert [text for text in yes if not own.search(text)] == []
    assert [text for text in no if own.search(text)] == []


REJECTED = [
    (r"(a)\1", "backreferences are not offered (character 4 of the pattern)"),
    ("a(?=b)", "looking ahead or behind is not offered (character 2 of the pattern)"),
    ("a(?!b)", "looking ahead or behind is not offered"),
    ("(?<=a)b", "looking ahead or behind is not offered"),
    ("(?<!a)b", "looking ahead or behind is not offered"),
    ("(?>a)", "this kind of group is not offered"),
    (r"a\Z", r"'\Z' is unknown (character 2 of the pattern)"),
    ("a**", "repeats a repetition"),
    ("ab*+", "repeats a repetition: put the inner one into (?:...) (character 3 of the pattern)"),
    ("a|*", "nothing to repeat before this (character 3 of the pattern)"),
    ("a*|*", "nothing to repeat before this"),
    ("{2}", "nothing to repeat"),
    ("a{3,2}", "counts up, to 1000 at most"),
    ("a{1001}", "counts up, to 1000 at most"),
    ("((a{100}){100}){100}", "1000 at most in all"),
    (r"\p{L}{1000}", "too large"),
    ("(a", "expected ')'"),
    ("a)", "a ')' closes nothing"),
    ("x[a", "expected ']' (character 2 of the pattern)"),
    ("[b-a]", "there is no such range or class (write '\\-' for a dash) (character 2"),
    (r"\p{Greek}\p{Foo}", "there is no such range or class"),
    ("a\\", "ends in a backslash"),
    (r"\x4", "expected a character's number"),
    (r"\x{110000}", "expected a character's number"),
]


@pytest.mark.parametrize(("pattern", "message"), REJECTED)
def test_a_pattern_that_re2_does_not_know_is_rejected_in_words(pattern: str, message: str) -> None:
    with pytest.raises(PatternError, match=re.escape(message)):
        Pattern(pattern)


def test_no_message_names_a_place_that_may_be_another() -> None:
    with pytest.raises(PatternError) as caught:
        Pattern("a*|*")
    assert "character" not in str(caught.value)


HOSTILE = [
    (r"^(a+)+$", "a" * (MAX_SUBJECT - 1) + "b"),
    (r"(a|aa)*b", "a" * MAX_SUBJECT),
    (r"a*a*a*a*a*b", "a" * MAX_SUBJECT),
    (r"(.*)(.*)(.*)(.*)=", "x" * MAX_SUBJECT),
    (r"(a?){100}a{100}$", "a" * 99),
    (r"(a|b)*a(a|b){12}$", "ab" * (MAX_SUBJECT // 2 - 20) + "c"),
    (r"a[ab]{200}c", "ab" * (MAX_SUBJECT // 2)),
    (r"[^x]*[^y]*z", "".join(map(chr, range(0x4E00, 0x4E00 + MAX_SUBJECT)))),
]


@pytest.mark.parametrize(("pattern", "text"), HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(pattern: str, text: str) -> None:
    own = Pattern(pattern)
    began = time.process_time()
    assert not own.search(text)
    assert time.process_time() - began < 2  # where backtracking takes minutes or centuries


def test_a_text_that_is_too_long_is_a_failure_that_names_the_field() -> None:
    condition = function('text.matches("b")')
    assert condition({"data": {"text": "a" * (MAX_SUBJECT - 1) + "b"}})
    with pytest.raises(ConditionError, match="at most 10000 characters") as caught:
        condition({"data": {"text": "a" * MAX_SUBJECT + "b"}})
    assert caught.value.path == "text"
