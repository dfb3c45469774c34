"""Say how many nines a measurement is worth: a few checks without a finding prove little."""

from math import exp, lgamma, log, log1p, log10, sqrt
from typing import Final

DOUBT: Final = 0.05  # the chance that the true share of stale entries is larger than the bound
EXACT: Final = 200  # findings up to which the bound is exact (Clopper and Pearson)
_QUANTILE: Final = 1.6449  # of the normal distribution


def most_stale(stale: int, checks: int) -> float:
    """Return the largest share of stale entries that these checks are compatible with."""
    if not checks or stale >= checks:
        return 1.0
    if stale > EXACT:
        return _wilson(stale, checks)
    low, high = stale / checks, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(stale, checks, middle) > DOUBT else (low, middle)
    return high


def nines(stale: int, checks: int) -> int:
    """Return how many nines the share of fresh entries has at least."""
    return int(-log10(most_stale(stale, checks)) + 1e-9)


def sentence(stale: int, checks: int) -> str:
    """Return it for a person: `at least 5 nines, 0 of 412,000 stale`."""
    if not checks:
        return "nothing was checked yet"
    count = nines(stale, checks)
    worth = f"at least {count} nine{'' if count == 1 else 's'}" if count else "no nine shown yet"
    return f"{worth}, {stale:,} of {checks:,} stale"


def _at_most(stale: int, checks: int, share: float) -> float:
    """Return how likely at most so many findings are."""
    total = 0.0
    for found in range(stale + 1):
        ways = lgamma(checks + 1) - lgamma(found + 1) - lgamma(checks - found + 1)
        rest = (checks - found) * log1p(-share) if share < 1 else -1e9
        total += exp(ways + (found * log(share) if found else 0.0) + rest)
    return total


def _wilson(stale: int, checks: int) -> float:
    share, square = stale / checks, _QUANTILE**2 / checks
    spread = _QUANTILE * sqrt(share * (1 - share) / checks + square / (4 * checks))
    return (share + square / 2 + spread) / (1 + square)
