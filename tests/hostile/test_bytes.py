"""Whatever bytes arrive: no crash, no key that nobody meant, and every event accounted for."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.backends.choose import NO_OWN_REDIS, missing
from tests.backends.kafka_client import Kafka
from tests.backends.redis_server import RedisServer
from tests.hostile.events import NASTY, Sample, fields, headers, samples
from tests.hostile.senders import CANARIES, MEMBERS, MOST, WAYS, Target, attacked

TOGETHER = 60  # events of one example: waiting for them costs more than they do
MEGABYTES = 150  # that the daemon may hold beyond what it held, with events of a megabyte each
QUIETLY: dict[str, Any] = {
    "database": None,
    "phases": [Phase.generate],  # a failure is the daemon's: a smaller one needs a new daemon
    "suppress_health_check": [*HealthCheck],
}
LONG = pytest.param(150, marks=pytest.mark.slow, id="long")
SHORT = pytest.param(4, id="short")


@pytest.fixture(scope="module")
def shared_target(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    with ExitStack() as stack:
        yield attacked(stack, tmp_path_factory.mktemp("hostile"), kafka)


@pytest.fixture
def target(shared_target: Target) -> Iterator[Target]:
    shared_target.prime()
    shared_target.now.delete("invalidator:dead")
    yield shared_target
    shared_target.await_settled()
    assert shared_target.survivors() == CANARIES
    assert shared_target.now.smembers("tag:group:canary") == MEMBERS
    assert shared_target.daemon.admin("/livez")[0] == 200
    assert "crashed" not in shared_target.daemon.log()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("examples", [SHORT, LONG])
def test_any_bytes_are_applied_or_in_the_dead_letters(
    target: Target, way: str, examples: int
) -> None:
    @settings(**QUIETLY, max_examples=examples)
    @given(st.lists(samples(), min_size=TOGETHER, max_size=TOGETHER))
    def attack(found: list[Sample]) -> None:
        keys = {sample.key: "stale" for sample in found if sample.key}
        if keys:
            target.now.mset(keys)
        before = target.survivors()
        WAYS[way](target, [sample.raw for sample in found])
        target.await_settled()
        assert target.survivors() == before
        left = [key for key in keys if target.now.exists(key)]
        assert left == [], "a plain identity was not applied"
        _account(target, found)

    attack()


@pytest.mark.parametrize("examples", [SHORT, LONG])
def test_any_fields_of_an_entry_and_any_headers_of_a_record(target: Target, examples: int) -> None:
    @settings(**QUIETLY, max_examples=examples)
    @given(
        st.lists(fields(), min_size=20, max_size=20),
        st.lists(headers(), min_size=3, max_size=3),
        st.none() | st.binary(max_size=30),
    )
    def attack(
        entries: list[dict[bytes, bytes]], bombs: list[dict[str, bytes | None]], key: bytes | None
    ) -> None:
        target.by_fields(entries)
        for bomb in bombs:
            target.by_kafka([b'{"type": "header.told"}', b"", None], key=key, headers=bomb)
        target.await_settled()
        assert target.survivors() == CANARIES

    attack()


def _account(target: Target, found: list[Sample]) -> None:
    """Check that plain identities are applied, and that what is no JSON object is a dead letter."""
    dead = target.dead()
    for sample in found:
        if sample.key:
            assert sample.raw not in dead, sample
        elif not _is_object(sample.raw):
            assert sample.raw in dead, sample


def _is_object(raw: bytes) -> bool:
    """Return whether Python reads an object, or a list of them, which is as many events.

    Numbers may have any size, and characters may be halves.
    """
    try:
        found = json.loads(raw.decode(), parse_int=float, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) or (
        isinstance(found, list) and bool(found) and all(isinstance(each, dict) for each in found)
    )


def _refused(constant: str) -> None:
    raise ValueError(constant)


@pytest.mark.parametrize("way", WAYS)
def test_text_that_looks_like_a_glob_or_a_command_names_only_itself(
    target: Target, way: str
) -> None:
    """Try it everywhere: in a key, a pattern, a tag, a version."""
    kinds = ("order.updated", "list.changed", "group.changed", "version.raised")
    events = [
        json.dumps({"type": kind, "data": {"id": text}}).encode()
        for text in NASTY
        for kind in kinds
    ]
    WAYS[way](target, events)
    target.await_settled()
    dead = target.dead()
    for event in events:
        if b"\x00" in event or b"\\u0000" in event or b"\\r\\n" in event:
            assert event in dead


@pytest.mark.parametrize(
    "way", ["kafka", *(pytest.param(way, marks=pytest.mark.slow) for way in ("stream", "channel"))]
)
def test_deep_and_huge_events_are_dead_letters_and_memory_is_bounded(
    target: Target, way: str
) -> None:
    deep = [b"[" * depth + b"]" * depth for depth in (100, 1_000, 10_000, 400_000)]
    objects = [b'{"data":' * 50_000 + b"1" + b"}" * 50_000]
    huge = [b'{"type": "order.updated", "data": {"id": "' + b"a" * MOST + b'"}}'] * 8
    wide = [b'{"type": "order.updated", "data": {' + b'"a": 1, ' * 100_000 + b'"id": [1]}}'] * 8
    digits = [b'{"type": "order.updated", "data": {"id": ' + b"9" * 500_000 + b"}}"] * 5
    before = target.memory()
    if way == "kafka":  # the broker takes no more than this in a message
        huge = [event[:900_000] for event in huge]
    events = deep + objects + huge + wide + digits
    for _ in range(2):
        WAYS[way](target, events)
        target.await_settled()
    dead = target.dead()
    assert [event[:60] for event in events if event not in dead] == []
    assert target.memory() - before < MEGABYTES * 1_000_000


def test_header_bombs_and_keys_of_any_bytes(target: Target) -> None:
    event = b'{"type": "header.told", "data": {}}'
    many = {f"header-{number}": b"x" * 20 for number in range(5_000)}
    headers: list[dict[str, bytes | None]] = [
        {**many},
        {"tenant": b"\xff\xfe\x00"},
        {"tenant": b"*"},
        {"tenant": b"x" * 700_000},
        {"tenant": None},
        {"ce_specversion": b"1.0", "ce_type": b"\r\nDEL canary"},
        {"": b"", "tenant": b"canary\r\n"},
    ]
    for found in headers:
        target.by_kafka([event], key=b"\xff\x00*\r\n", headers=found)
    target.await_settled()
    assert target.dead() == {event}
