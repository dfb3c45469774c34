"""When a topic is held because of its rules, and when it flows again."""

import pytest

from invalidator.pipeline.reject_brake import FIRST_LOOK, LAST_LOOK, ORIGINS, RulesBrake


def tripped(rules: str = "bad", now: float = 0) -> RulesBrake:
    brake = RulesBrake()
    assert brake.judge("orders", rules, 100, 51, now)
    return brake


def released(brake: RulesBrake, rules: str = "bad", now: float = 0) -> list[tuple[str, bool]]:
    return list(brake.released(rules, now))


@pytest.mark.parametrize(
    ("batches", "held"),
    [
        ([(100, 51)], True),
        ([(100, 50)], False),
        ([(99, 99)], False),
        ([(99, 99), (1, 1)], True),
        ([(1, 1)] * 99, False),
        ([(1, 1)] * 100, True),
        ([(1_000_000, 0), (100, 51)], True),  # long good before
        ([(60, 60), (60, 0)], False),
        ([(60, 60), (60, 0), (60, 60)], False),  # half of the last 120
        ([(60, 60), (60, 0), (60, 60), (60, 60)], True),
        ([(50, 50), (0, 0), (50, 50)], True),
    ],
)
def test_more_than_half_of_at_least_a_hundred(batches: list[tuple[int, int]], held: bool) -> None:
    brake = RulesBrake()
    said = [brake.judge("orders", "r", *batch, now=0) for batch in batches]
    assert not any(said[:-1])
    assert said[-1] is held
    assert brake.paused == ({"orders"} if held else set())


def test_topics_and_rules_are_judged_each_for_themselves() -> None:
    brake = RulesBrake()
    assert not brake.judge("orders", "r", 60, 60, now=0)
    assert not brake.judge("users", "r", 60, 60, now=0)
    assert not brake.judge("orders", "s", 60, 60, now=0)
    assert not brake.judge("orders", "r", 60, 60, now=0), "that was forgotten with the other rules"
    assert brake.judge("orders", "r", 60, 60, now=0)
    assert brake.paused == {"orders"}


def test_what_comes_while_a_topic_is_held_is_held_too() -> None:
    brake = tripped()
    assert brake.judge("orders", "bad", 10, 0, now=1)
    assert not brake.judge("users", "bad", 10, 0, now=1)
    assert str(brake.braked["orders"]) == "rules bad rejected 51 of 100 events"


def test_other_rules_let_it_go_to_be_judged_by_them() -> None:
    brake = tripped()
    assert released(brake, "bad", 1) == []
    assert released(brake, "mended", 1) == [("orders", False)]
    assert not brake.judge("orders", "mended", 100, 0, now=1)
    assert brake.judge("orders", "worse", 100, 100, now=1)


def test_somebody_may_say_to_go_on_until_other_rules_come() -> None:
    brake = tripped()
    assert brake.resume() == ["orders"]
    assert brake.paused == set()
    assert not brake.judge("orders", "bad", 1000, 1000, now=1)
    assert brake.judge("orders", "others", 1000, 1000, now=1)
    assert RulesBrake().resume() == []


def test_newer_events_that_are_good_show_that_it_was_not_the_rules() -> None:
    brake = tripped()
    assert released(brake, now=FIRST_LOOK - 1) == []
    assert brake.paused == {"orders"}
    assert released(brake, now=FIRST_LOOK) == []
    assert brake.paused == set(), "they are read"
    assert brake.judge("orders", "bad", 99, 0, now=FIRST_LOOK), "and held"
    assert released(brake, now=FIRST_LOOK + 1) == []
    assert brake.judge("orders", "bad", 1, 1, now=FIRST_LOOK)
    assert released(brake, now=FIRST_LOOK + 1) == [("orders", True)]
    assert not brake.judge("orders", "bad", 10, 0, now=FIRST_LOOK + 1)


def test_newer_events_that_are_bad_put_off_the_next_look_for_longer_and_longer() -> None:
    brake, now = tripped(), 0.0
    waits = []
    for _ in range(9):
        began = now
        while released(brake, now=now) or brake.paused:
            now += 1
        waits.append(now - began)
        assert brake.judge("orders", "bad", 100, 100, now=now)
        assert brake.paused == {"orders"}
    assert waits[:3] == [FIRST_LOOK, 2 * FIRST_LOOK, 4 * FIRST_LOOK]
    assert waits[-1] == LAST_LOOK


def test_what_is_remembered_is_bounded() -> None:
    brake = RulesBrake()
    for number in range(2 * ORIGINS):
        brake.judge(f"channel {number}", "r", 1, 0, now=0)
    assert len(brake._flowing) == ORIGINS
