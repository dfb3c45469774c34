"""What a reader does with what it finds."""

import pytest

from invalidator.cache.entry import (
    BUSY,
    EARLY,
    EXPIRED,
    HIT,
    MISS,
    NO_TOKEN,
    STALE,
    Frame,
    Names,
    id_of,
    judge,
    lease_of,
    load_time,
    new_token,
    writer_token,
)
from invalidator.cache.kinds import Kind, Policy

NOW = 1_796_071_595_019
NAMES = Names("k", ("invalidator:stamp:a", "cache:version:v"))
STAMPS = [b"s" * 16, b"1796071621153439"]
PLAIN = Kind(early=0).over(Policy())
SWR = Kind(early=0, swr="60s").over(Policy())
BRIDGED = Kind(early=0, stale_if_error="60s").over(Policy())


def _entry(fresh: int = 1000, *, lease: bytes = NO_TOKEN, until: int = 0, **more: object) -> bytes:
    line = NAMES.line(STAMPS)
    assert line is not None
    fields: dict[str, object] = {"fresh_until": NOW + fresh, "took": 50.0, **more}
    made = Frame(b'{"id":1}', b"J-", b"i" * 16, line, **fields).encoded()  # type: ignore[arg-type]
    return made[:30] + lease + b" %013d" % until + made[60:]


def test_an_entry_is_framed_as_the_specification_says() -> None:
    entry = _entry(lease=b"L" * 16, until=NOW + 9, row=7, schema=b"0012")
    head, line, value = entry.split(b"\n")
    assert head == (
        b"!i1 VJ- 0012 iiiiiiiiiiiiiiii LLLLLLLLLLLLLLLL 1796071595028 1796071596019"
        b" 0000000000000007 000050"
    )
    assert line == (
        b'["invalidator:stamp:a","ssssssssssssssss","cache:version:v","1796071621153439"]'
    )
    assert value == b'{"id":1}'
    assert (id_of(entry), load_time(entry)) == (b"i" * 16, 0.05)
    lease = lease_of(entry)
    assert lease is not None
    assert (lease.token, lease.until) == (b"L" * 16, NOW + 9)


ALONE = b"!i1 L-- 0000 " + NO_TOKEN + b" %b %013d 0000000000000 0000000000000000 000000\n"


@pytest.mark.parametrize(
    ("entry", "policy", "verdict"),
    [
        (None, PLAIN, MISS),
        (b"a foreign string", PLAIN, MISS),
        (_entry(), PLAIN, HIT),
        (_entry(absent=True), PLAIN, HIT),
        (_entry(schema=b"0001"), PLAIN, MISS),
        (_entry(-1), PLAIN, MISS),
        (_entry(-1), SWR, STALE),
        (_entry(-1, lease=b"L" * 16, until=NOW + 9), SWR, HIT),
        (_entry(-61_000), SWR, MISS),
        (_entry(-1), BRIDGED, EXPIRED),
        (_entry(-1, lease=b"L" * 16, until=NOW + 9), BRIDGED, BUSY),
        (_entry(-1, lease=b"~" * 16, until=NOW + 9), BRIDGED, EXPIRED),
        (_entry(-1, until=NOW + 9), BRIDGED, HIT),
        (_entry(-61_000), BRIDGED, MISS),
        (ALONE % (b"L" * 16, NOW + 1), PLAIN, BUSY),
        (ALONE % (b"L" * 16, NOW), PLAIN, MISS),
        (ALONE % (b"~" * 16, NOW + 1), PLAIN, MISS),
    ],
)
def test_a_reader_decides_by_the_head(entry: bytes | None, policy: Policy, verdict: int) -> None:
    assert judge(entry, NAMES.line(STAMPS), NOW, policy) == verdict


@pytest.mark.parametrize("stamps", [[None, STAMPS[1]], [STAMPS[0], None], [b"x" * 16, STAMPS[1]]])
def test_a_stamp_that_is_missing_or_another_is_a_miss(stamps: list[bytes | None]) -> None:
    assert judge(_entry(), NAMES.line(stamps), NOW, SWR) == MISS


def test_declared_tags_that_an_entry_lacks_are_a_miss() -> None:
    more = Names("k", (*NAMES.declared, "invalidator:stamp:b"))
    assert judge(_entry(), more.line([*STAMPS, b"b" * 16]), NOW, PLAIN) == MISS
    assert more.fitting(_entry()) is more


def test_names_that_a_load_added_are_found_in_the_entry() -> None:
    declared = Names("k", NAMES.declared[:1])
    assert judge(_entry(), declared.line(STAMPS[:1]), NOW, PLAIN) == MISS
    fitting = declared.fitting(_entry())
    assert fitting.keys == NAMES.keys
    assert judge(_entry(), fitting.line(STAMPS), NOW, PLAIN) == HIT


def test_a_value_is_refreshed_early_the_likelier_the_less_is_left() -> None:
    eager = Policy(early=1.0)
    line = NAMES.line(STAMPS)

    def early(left: int) -> int:
        entry = _entry(left, took=100.0)
        return sum(judge(entry, line, NOW, eager) == EARLY for _ in range(2000))

    assert early(10) > 1500  # exp(-0.1)
    assert 500 < early(100) < 1000  # exp(-1)
    assert early(2500) == 0
    assert judge(_entry(1, took=9e9, lease=b"L" * 16, until=NOW + 9), line, NOW, eager) == HIT


def test_tokens_differ_and_a_writers_says_so() -> None:
    assert len({new_token() for _ in range(1000)}) == 1000
    assert len(writer_token()) == len(new_token()) == 16
    assert writer_token().startswith(b"~")
