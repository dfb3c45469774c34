"""What readiness and liveness are made of."""

from structlog.testing import capture_logs

from invalidator.runtime.health import Health, Part


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_part_is_not_ready_until_it_said_so() -> None:
    health = Health(Clock())
    health.part("kafka")
    assert health.waiting() == {"kafka": "starting"}
    health.part("kafka").ready()
    assert health.waiting() == {}


def test_a_part_that_is_away_says_why_and_the_newest_reason_counts() -> None:
    health = Health(Clock())
    part = health.part("redis")
    part.ready()
    part.away("connection refused")
    part.away("LOADING")
    assert health.waiting() == {"redis": "LOADING"}


def test_the_first_start_is_no_comeback() -> None:
    with capture_logs() as logs:
        Part("redis", Clock()).ready()
    assert logs == []


def test_a_wait_is_counted_from_its_beginning() -> None:
    clock = Clock()
    part = Part("redis", clock)
    part.ready()
    clock.now = 100.0
    with capture_logs() as logs:
        part.away("refused")
        clock.now = 110.0
        part.away("refused")
        clock.now = 131.0
        part.away("refused")
        clock.now = 140.0
        part.ready()
        part.ready()
    assert [(log["event"], log["seconds"]) for log in logs] == [
        ("waiting", 0.0),
        ("waiting", 31.0),
        ("back", 40.0),
    ]


def test_the_next_wait_is_said_at_once_again() -> None:
    part = Part("redis", Clock())
    with capture_logs() as logs:
        for _ in range(2):
            part.away("refused")
            part.ready()
    assert [log["event"] for log in logs] == ["waiting", "back"] * 2


def test_a_loop_is_stuck_when_it_gave_no_sign_of_life_for_long() -> None:
    clock = Clock()
    health = Health(clock, stuck_after=120.0)
    beating, silent = health.pulse("intake"), health.pulse("outflow")
    clock.now = 100.0
    beating.beat()
    clock.now = 120.0
    assert health.stuck() == []
    clock.now = 121.0
    assert health.stuck() == [silent.name]
    silent.beat()
    assert health.stuck() == []
