"""A share of fresh entries is never said to be better than what was checked shows."""

import pytest

from invalidator.freshness.nines import EXACT, most_stale, nines, sentence


@pytest.mark.parametrize(
    ("stale", "checks", "said"),
    [
        (0, 0, "nothing was checked yet"),
        (0, 1, "no nine shown yet, 0 of 1 stale"),
        (1, 1, "no nine shown yet, 1 of 1 stale"),
        (0, 28, "no nine shown yet, 0 of 28 stale"),
        (0, 30, "at least 1 nine, 0 of 30 stale"),
        (0, 412_000, "at least 5 nines, 0 of 412,000 stale"),
        (1, 412_000, "at least 4 nines, 1 of 412,000 stale"),
        (0, 3_000_000, "at least 6 nines, 0 of 3,000,000 stale"),
    ],
)
def test_nines_are_said_with_what_they_rest_on(stale: int, checks: int, said: str) -> None:
    assert sentence(stale, checks) == said


@pytest.mark.parametrize(
    ("stale", "checks", "bound"),
    [  # exact ones, from tables of Clopper and Pearson (one-sided, 95%)
        (0, 10, 0.25887),
        (1, 10, 0.39416),
        (2, 20, 0.28262),
        (5, 100, 0.10225),
    ],
)
def test_the_bound_is_that_of_clopper_and_pearson(stale: int, checks: int, bound: float) -> None:
    assert most_stale(stale, checks) == pytest.approx(bound, abs=2e-5)


def test_the_bound_of_many_findings_continues_the_exact_one() -> None:
    exact, beyond = (most_stale(found, 1_000_000) for found in (EXACT, EXACT + 1))
    assert exact < beyond < exact * 1.02


def test_more_findings_are_never_worth_more() -> None:
    found = [nines(stale, 100_000) for stale in range(0, 1000, 7)]
    assert found == sorted(found, reverse=True)
