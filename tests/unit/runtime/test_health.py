"""Readiness and liveness."""

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
    part.not_ready("connection refused")
    part.not_ready("LOADING")
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
        part.not_ready("refused")
        clock.now = 110.0
        part.not_ready("refused")
        clock.now = 131.0
        part.not_ready("refused")
        clock.now = 140.0
        part.ready()
        part.ready()
    assert [(log["event"], log["seconds"]) for log in logs] == [
        ("server-unavailable", 0.0),
        ("server-unavailable", 31.0),
        ("server-available", 40.0),
    ]


def test_a_server_that_several_parts_use_is_said_once() -> None:
    health = Health(Clock())
    with capture_logs() as lines:
        for name in ("redis", "pubsub"):
            health.part(name).not_ready(f"{name}: connection refused")
        health.part("kafka").not_ready("kafka: no answer")
        for name in ("redis", "pubsub", "kafka"):
            health.part(name).ready()
    assert [(line["event"], line["part"]) for line in lines] == [
        ("server-unavailable", "redis"),
        ("server-unavailable", "kafka"),
        ("server-available", "redis"),
        ("server-available", "kafka"),
    ]


def test_the_next_wait_is_said_at_once_again() -> None:
    part = Part("redis", Clock())
    with capture_logs() as logs:
        for _ in range(2):
            part.not_ready("refused")
            part.ready()
    assert [log["event"] for log in logs] == ["server-unavailable", "server-available"] * 2


def test_a_wait_for_a_person_is_not_logged_as_one_for_a_server() -> None:
    with capture_logs() as logs:
        part = Part("intake", Clock(), server=False)
        part.not_ready("paused")
        part.ready()
    assert logs == []


def stuck_after_two_minutes(clock: Clock) -> Health:
    health = Health(clock, stuck_after=120.0)
    health.part("redis").ready()
    health.part("rules", server=False).not_ready("a topic is paused")
    return health


def test_a_pipeline_is_stuck_when_it_has_work_and_settled_nothing_for_long() -> None:
    clock = Clock()
    health = stuck_after_two_minutes(clock)
    busy, idle = health.unsettled("kafka"), health.unsettled("stream")
    clock.now = 1000.0
    for _ in range(2):
        busy.read()
    idle.read()
    idle.settled()
    clock.now += 100
    busy.settled()
    clock.now += 120
    assert health.stuck() == []
    clock.now += 1
    assert health.stuck() == ["kafka"]
    busy.settled()
    clock.now += 1000
    assert health.stuck() == []


def test_a_pipeline_that_waits_for_a_server_is_not_stuck_nor_immediately_after_it() -> None:
    clock = Clock()
    health = stuck_after_two_minutes(clock)
    health.unsettled("kafka").read()
    health.part("redis").not_ready("refused")
    clock.now += 1000
    assert health.stuck() == []
    health.part("redis").ready()
    assert health.stuck() == []
    clock.now += 121
    assert health.stuck() == ["kafka"]


def test_long_work_with_progress_and_waits_for_a_time_to_come_are_no_standstill() -> None:
    clock = Clock()
    health = stuck_after_two_minutes(clock)
    kafka = health.unsettled("kafka")
    kafka.read()
    clock.now += 121
    assert health.stuck() == ["kafka"]
    health.progress()
    assert health.stuck() == []
    kafka.expect(clock.now + 1000)
    clock.now += 1120
    assert health.stuck() == []
    clock.now += 1
    assert health.stuck() == ["kafka"]
