"""The warning about dead letters."""

from structlog.testing import capture_logs

from invalidator.deadletters.report import QUIET, Reports
from invalidator.model import Fault, Record, Rejection


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def rejected(error: str, message: str = "", rule: str | None = "orders") -> Rejection:
    return Rejection(Record("kafka", "o", "0@1", b"{}"), "t", (Fault(error, message, rule),))


def test_a_rule_and_an_error_are_one_warning_with_their_count_and_the_last_entry() -> None:
    reports = Reports(Clock())
    with capture_logs() as lines:
        reports.stored(
            [
                (rejected("missing-field", "the event has no id; it has: a, b"), "1-0"),
                (rejected("missing-field", "the event has no id; it has: c"), "2-0"),
                (rejected("not-json", "not JSON: secret", None), "3-0"),
            ]
        )
    assert [line.pop("event") for line in lines] == ["dead-letter", "dead-letter"]
    assert lines == [
        {
            "log_level": "warning",
            "rule": "orders",
            "error": "missing-field",
            "reason": "the event has no id",
            "count": 2,
            "last": "2-0",
        },
        {
            "log_level": "warning",
            "rule": None,
            "error": "not-json",
            "reason": "not JSON",
            "count": 1,
            "last": "3-0",
        },
    ]


def test_more_of_the_same_wait_and_are_counted() -> None:
    clock = Clock()
    reports = Reports(clock)
    with capture_logs() as lines:
        for number in range(5):
            reports.stored([(rejected("null-field"), f"{number}-0")])
        clock.now = QUIET
        reports.stored([(rejected("null-field"), "5-0")])
    assert [(line["count"], line["last"]) for line in lines] == [(1, "0-0"), (5, "5-0")]
