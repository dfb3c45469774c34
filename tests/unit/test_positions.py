"""Where a group begins, and what its commits say about that."""

import pytest
from aiokafka import TopicPartition

from invalidator.sources.positions import Birth, Start


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
    assert Birth.parse(birth.dump()) == birth


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


def test_a_birth_knows_which_partitions_were_there() -> None:
    birth = Birth(0, {"orders": 2})
    assert birth.had(TopicPartition("orders", 1))
    assert not birth.had(TopicPartition("orders", 2))
    assert not birth.had(TopicPartition("items", 0))
