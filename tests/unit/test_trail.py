"""Where a source goes back to when a cache forgot, by the time until which it remembers."""

import math

import pytest

from invalidator.sources.trail import BEGINNING, MOST_POINTS, Back, Stand, Trail


def trail(*points: tuple[float, int], span: float = 3600.0) -> Trail[int]:
    return Trail(span, points)


@pytest.mark.parametrize(
    ("moment", "position"),
    [(500.0, 30), (200.0, 20), (199.9, 10), (150.0, 10), (100.0, 10)],
)
def test_it_leads_to_what_was_settled_at_that_time(moment: float, position: int) -> None:
    assert trail((100, 10), (200, 20), (300, 30)).back(moment) == (position, True)


def test_a_trail_that_does_not_lead_back_so_far_says_so() -> None:
    assert trail((100, 10), (200, 20)).back(99.0) == (10, False)
    assert trail((100, 10), (200, 20)).back(-math.inf) == (10, False)


def test_before_its_beginning_nothing_was_applied() -> None:
    assert trail((BEGINNING, 5), (200, 20)).back(7.0) == (5, True)


def test_what_lay_behind_the_point_it_led_to_is_no_longer_true() -> None:
    """It is applied again, later than the trail said."""
    walked = trail((100, 10), (200, 20), (300, 30))
    walked.back(200.0)
    assert walked.back(math.inf) == (20, True)


def test_points_that_are_close_in_time_are_one_and_the_older_one_counts() -> None:
    walked = trail((100, 10))
    walked.note(100.5, 15)
    walked.note(101.0, 20)
    walked.note(101.9, 25)
    assert walked.back(101.95) == (20, True)
    assert walked.back(100.9) == (10, True)


def test_it_leads_back_over_its_whole_span_and_not_further() -> None:
    walked = trail((0, 0), span=100.0)
    for second in range(1, 1001):
        walked.note(float(second), second)
    assert walked.back(900.0)[1]
    assert walked.first == 900


def test_it_does_not_grow_without_bound_and_is_exact_for_what_was_of_late() -> None:
    walked = trail((0, 0), span=1e9)
    for second in range(1, 10_000):
        walked.note(float(second), second)
    assert len(walked._points) <= MOST_POINTS
    for back in (1, 10, 60):
        position, complete = trail(*walked._points).back(9999.0 - back)
        assert complete
        assert position == 9999 - back
    for back in (600, 3600, 9000):
        position, complete = trail(*walked._points).back(9999.0 - back)
        assert complete
        assert position <= 9999 - back


def test_some_points_travel_with_a_commit_and_lead_back_as_far() -> None:
    walked = trail((0, 0), span=7200.0)
    for second in range(1, 10_000):
        walked.note(float(second), second)
    few = walked.few()
    assert len(few) <= 6
    assert (few[0], few[-1]) == (walked._points[0], walked._points[-1])
    for back in (0, 60, 90, 300, 1000, 7000):
        position, complete = Trail(7200.0, few).back(9999.0 - back)
        assert complete
        assert position <= 9999 - back


def stand(*points: tuple[float, int]) -> Stand[int]:
    return Stand("old", trail(*points))


def test_where_nothing_is_forgotten_only_the_era_changes() -> None:
    it = stand((100, 10))
    assert it.behind("new")
    assert it.go_back(math.inf, "new", 50) is None
    assert (it.era, it.behind("new")) == ("new", False)


def test_all_from_the_position_back_then_to_what_is_read_by_now_is_read_again() -> None:
    it = stand((100, 10), (200, 20), (300, 30))
    assert it.go_back(250.0, "new", 50) == Back(20, 50, complete=True)
    assert (it.era, it.behind("new")) == ("old", False)
    assert not it.settle(40, 400.0, again=False), "read before: applied in vain, perhaps"
    assert not it.settle(55, 401.0, again=False)
    assert not it.settle(49, 402.0, again=True)
    assert it.era == "old"
    assert it.settle(50, 403.0, again=True)
    assert it.era == "new"
    assert it.trail.back(410.0) == (50, True)
    assert it.trail.back(402.9) == (20, True)


def test_where_nothing_was_settled_since_nothing_is_read_again() -> None:
    it = stand((100, 10))
    assert it.go_back(150.0, "new", 10) is None
    assert it.era == "new"


def test_what_is_forgotten_while_it_is_read_again_is_read_again_from_the_start() -> None:
    it = stand((100, 10), (200, 20), (300, 30))
    it.go_back(250.0, "new", 50)
    it.settle(40, 400.0, again=True)
    assert it.behind("newer")
    assert it.go_back(250.0, "newer", 45) == Back(20, 50, complete=True)
    assert it.go_back(150.0, "newest", 45) == Back(10, 50, complete=True)
    assert it.settle(50, 500.0, again=True)
    assert it.era == "newest"
