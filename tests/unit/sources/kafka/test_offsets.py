"""Where a group begins, and what its commits say about that."""

import pytest
from aiokafka import TopicPartition

from invalidator.sources.kafka.offsets import Birth, Found, Past
from invalidator.sources.start import Start
from invalidator.sources.trail import Stand, Trail


@pytest.mark.parametrize(
    ("setting", "start"),
    [
        ("latest", Start("latest")),
        ("earliest", Start("earliest")),
        (-3600.0, Start("ago", 3600.0)),
        ("-60", Start("ago", 60.0)),
    ],
)
def test_a_start_is_a_word_or_so_many_seconds_ago(setting: str | float, start: Start) -> None:
    assert Start.of(setting) == start


def test_a_birth_survives_the_metadata_of_a_commit() -> None:
    birth = Birth(1700000000000, {"orders": 3, "items": 1})
    assert Birth.parse(birth.dump("orders")) == birth


def test_a_note_stays_within_what_brokers_take_however_many_topics_there_are() -> None:
    topics = {f"shop.public.a_table_of_many_{number:04}": 3 for number in range(300)}
    birth = Birth(1700000000000, topics)
    stand = Stand("era", Trail(3600.0, [(float(at), at) for at in range(0, 4000, 70)]))
    notes = {topic: birth.dump(topic, stand) for topic in topics}
    assert max(map(len, notes.values())) < 4096
    told = [found for note in notes.values() if (found := Birth.parse(note))]
    assert Birth.of(told) == birth
    assert Birth.of(told[1:]) != birth
    assert Birth.parse(birth.dump("added later")) == Birth(birth.time_ms, {})


def test_of_several_births_the_earliest_counts() -> None:
    later, earlier = Birth(7, {"orders": 4, "new": 1}), Birth(5, {"orders": 3})
    assert Birth.of([later, earlier]) == Birth(5, {"orders": 3, "new": 1})


@pytest.mark.parametrize(
    "note",
    [
        *("", "null", "[]", "7", '"text"', "{}", "{", "\x00", "written by another tool"),
        '{"born": "yesterday", "had": {}}',
        '{"born": 1, "had": [1]}',
        '{"born": 1, "had": {"orders": null}}',
        '{"born": 1}',
    ],
)
def test_what_another_tool_wrote_is_no_birth(note: str) -> None:
    assert Birth.parse(note) is None


def test_what_later_versions_add_to_a_note_is_passed_over() -> None:
    note = '{"v": 2, "born": 5, "had": {"orders": 1}, "primary": "10.0.0.1"}'
    assert Birth.parse(note) == Birth(5, {"orders": 1})


def test_a_commit_says_in_which_era_it_was_made_and_where_it_stood_before() -> None:
    birth = Birth(5, {"orders": 1})
    note = birth.dump("orders", Stand("era", Trail(3600.0, [(0.0, 3), (100.2, 7)])))
    assert Past.parse(note) == Past("era", ((0.0, 3), (101.0, 7)))
    assert Birth.parse(note) == birth
    assert len(note) < 200


@pytest.mark.parametrize(
    "note",
    [
        *("", "null", "[]", "{", "written by another tool"),
        '{"v": 1, "born": 1, "had": {"orders": 1}}',
        '{"v": 2, "born": 1, "had": {}, "era": "e", "trail": [1]}',
        '{"v": 2, "born": 1, "had": {}, "era": "e", "trail": [["a", 1]]}',
    ],
)
def test_a_commit_without_an_era_or_of_another_tool_tells_of_no_past(note: str) -> None:
    assert Past.parse(note) == Past()


def test_a_partition_of_which_nothing_was_applied_stands_in_the_era_of_now() -> None:
    new, known, foreign = (TopicPartition("orders", number) for number in range(3))
    past = Past("old", ((50.0, 4), (60.0, 99)))
    found = Found(Birth(5, {}), {new: 1, known: 9, foreign: 9}, frozenset({new}), {known: past})
    stands = found.stands("now", 3600.0, 100.0)
    assert {tp: stand.era for tp, stand in stands.items()} == {
        new: "now",
        known: "old",
        foreign: "",
    }
    assert stands[new].trail.few() == [(0.0, 1)]
    assert stands[known].trail.few() == [(50.0, 4)], "not what lies behind the commit"
    assert stands[foreign].trail.few() == [(100.0, 9)]


def test_a_birth_knows_which_partitions_were_there() -> None:
    birth = Birth(0, {"orders": 2})
    assert birth.had(TopicPartition("orders", 1))
    assert not birth.had(TopicPartition("orders", 2))
    assert not birth.had(TopicPartition("items", 0))
