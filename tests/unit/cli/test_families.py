"""Keys by their families, in bounded memory."""

import random

import pytest

from invalidator.cli.audit.families import DEPTH, Families, parts


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("order:single:ord_1", "order:single:ord_*"),
        ("order:single:17", "order:single:*"),
        ("user:by-email:a43c564056190dca51f9f4a6fae36c30", "user:by-email:*"),
        ("user:ada@example.com:profile", "user:*.com:profile"),
        ("app/v2/page.7", "app/v2/page.*"),
        ("user:v173800000:7", "user:*:*"),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479", "*"),
        ("plain", "plain"),
        ("", ""),
        ("a::b", "a::b"),
        ("x:" + "w" * 50, "x:*"),
    ],
)
def test_ids_are_collapsed_and_words_stay(key: str, family: str) -> None:
    assert b"".join(parts(key.encode())).decode() == family


def test_a_long_name_ends_in_one_part() -> None:
    assert len(parts(b":".join([b"a"] * 50))) == DEPTH + 1


def names(families: Families) -> dict[str, int]:
    return {name: tally.keys for name, tally in families.each()}


def count(families: Families, keys: list[str]) -> None:
    for key in keys:
        families.of(key.encode()).keys += 1


def word(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghijklmnop", k=6))


def test_where_many_words_stand_in_one_place_they_are_ids() -> None:
    chance = random.Random(1)
    families = Families()
    count(families, [f"name:{word(chance)}:cart" for _ in range(1000)])
    count(families, [f"name:{word(chance)}:wishes" for _ in range(500)])
    count(families, ["name:settings", "page:home"])
    assert names(families) == {
        "name:*:cart": 1000,
        "name:*:wishes": 500,
        "name:*": 1,
        "page:home": 1,
    }


def test_samples_survive_being_joined() -> None:
    families = Families(width=2)
    for key in (b"a:one", b"a:two", b"a:three", b"a:four"):
        families.of(key).note("big", key)
    ((name, tally),) = families.each()
    assert (name, tally.big) == ("a:*", 4)
    assert tally.samples["big"] in (b"a:one", b"a:two", b"a:three")


def test_memory_is_bounded_however_wild_the_names_are() -> None:
    chance = random.Random(2)
    families = Families(most=500)
    wild = [":".join(word(chance) for _ in range(chance.randrange(1, 9))) for _ in range(20_000)]
    count(families, wild)
    found = names(families)
    assert sum(found.values()) == 20_000
    assert len(found) <= 1000
