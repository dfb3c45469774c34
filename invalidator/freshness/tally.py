"""Counts of checks, by rule and delay, for metrics and for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter as PrometheusCounter

from invalidator.freshness.nines import most_stale, nines, sentence
from invalidator.runtime import metrics
from invalidator.runtime.metrics import Bounded
from invalidator.runtime.units import show_duration

_RULES = Bounded()


class Tally:
    """Counts the checks of this process."""

    def __init__(self, delays: Sequence[float]) -> None:
        self._delays = delays
        self._counts: Counter[tuple[str, float, str]] = Counter()
        self._metrics: dict[
            tuple[str, float, str], PrometheusCounter
        ] = {}  # finding one takes time

    def count(self, rule: str, delay: float, outcome: str) -> None:
        key = (_RULES.of(rule), delay, outcome)
        self._counts[key] += 1
        metric = self._metrics.get(key)
        if metric is None:
            labels = (key[0], show_duration(delay), outcome)
            metric = self._metrics[key] = metrics.FRESHNESS.labels(*labels)
        metric.inc()

    def count_all(self, rule: str, outcome: str) -> None:
        """Count an event that is not checked at any delay."""
        for delay in self._delays:
            self.count(rule, delay, outcome)

    def plain(self) -> list[dict[str, Any]]:
        """Return the results by delay, and by rule within each."""
        return [
            {
                "delay": show_duration(delay),
                **_result(self._sum(delay)),
                "rules": {rule: _result(self._sum(delay, rule)) for rule in self._rules(delay)},
            }
            for delay in self._delays
        ]

    def _rules(self, delay: float) -> list[str]:
        return sorted({rule for rule, at, _ in self._counts if at == delay})

    def _sum(self, delay: float, rule: str | None = None) -> Counter[str]:
        found: Counter[str] = Counter()
        for (name, at, outcome), count in self._counts.items():
            if at == delay and rule in (None, name):
                found[outcome] += count
        return found


def _result(counts: Counter[str]) -> dict[str, Any]:
    stale = counts["stale"]
    checks = counts["fresh"] + stale
    return {
        "checks": checks,
        "stale": stale,
        "nines": nines(stale, checks) if checks else None,
        "most_stale_share": most_stale(stale, checks) if checks else None,
        "says": sentence(stale, checks),
        "not_counted": {
            outcome: count
            for outcome, count in sorted(counts.items())
            if outcome not in ("fresh", "stale")
        },
    }
