import pytest

from invalidator.targets.redis.walk import Pace


def test_a_page_is_followed_by_a_pause_that_leaves_the_server_its_share() -> None:
    assert Pace(share=0.25).pause(0.001, 0) == pytest.approx(0.003)
    assert Pace(share=1.0).pause(0.001, 0) == 0


def test_many_bytes_are_followed_by_a_longer_pause() -> None:
    assert Pace(share=1.0, bytes_per_second=1000).pause(0.1, 500) == pytest.approx(0.4)


def test_a_slow_page_makes_the_next_one_smaller_and_quick_ones_let_it_grow_back() -> None:
    pace = Pace(count=1000, slow=0.02)
    assert pace.next_count(1000, 0.03) == 500
    assert pace.next_count(60, 9.0) == 50
    assert pace.next_count(500, 0.01) == 500
    assert pace.next_count(800, 0.001) == 1000
    assert Pace(count=10).next_count(10, 9.0) == 10
