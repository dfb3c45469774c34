"""Dead letters in a Kafka topic: as Kafka Connect writes them, and never in vain."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Message

from invalidator.deadletters.kafka_topic import TopicLetters, headers_of
from invalidator.deadletters.redact import Redactor
from invalidator.errors import Unavailable
from invalidator.model import Fault, Record, Rejection
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.sources.kafka.brokers import Brokers
from tests.backends.choose import missing
from tests.backends.kafka_client import Kafka, unique
from tests.conftest import StartKafka
from tests.pages import apart

RECORD = Record("kafka", "orders", "3@1042", b"\xff{}", b"k\xff", (("trace", b"\x00a"),), 17)
FAULTS = (
    Fault("missing-field", "no orderId", "order-changed", "order:single:{orderId}"),
    Fault("noperm", "forbidden", "audit", "audit:{id}"),
)
REJECTION = Rejection(RECORD, "order.updated", FAULTS)

Make = Callable[..., TopicLetters]


@pytest.fixture
async def make(kafka_bootstrap: str) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def new(topic: str, bootstrap: str = kafka_bootstrap, **more: Any) -> TopicLetters:
            letters = TopicLetters(Brokers([bootstrap]), topic, **more)
            stack.push_async_callback(letters.aclose)
            return letters

        yield new


def headers(message: Message) -> dict[str, bytes]:
    pairs: Any = message.headers() or []
    return {name: value or b"" for name, value in pairs}


def test_headers_are_those_of_kafka_connect_and_every_field() -> None:
    found = {name: value.decode() for name, value in headers_of(REJECTION, "5a66c5", 1_000)}
    assert {n[17:]: v for n, v in found.items() if n.startswith("__connect.errors.")} == {
        "topic": "orders",
        "partition": "3",
        "offset": "1042",
        "connector.name": "invalidator",
        "task.id": "0",
        "stage": "TRANSFORMATION",
        "class.name": "invalidator.rules",
        "exception.class.name": "invalidator.errors.Rejected",
        "exception.message": "no orderId",
        "exception.stacktrace": "order-changed: missing-field: order:single:{orderId}: no orderId\n"
        "audit: noperm: audit:{id}: forbidden",
    }
    ours = {name[12:]: value for name, value in found.items() if name.startswith("invalidator.")}
    assert list(ours) == [
        "source", "origin", "position", "id", "type", "rule", "what", "error", "message", "faults",
        "published_at", "attempts", "first_seen", "failed_at", "rules", "version",
    ]  # fmt: skip
    assert len(orjson.loads(ours["faults"])) == 2


@pytest.mark.parametrize(
    ("position", "offset"), [("3@1042-1060", "1042"), ("1795000000000-0", None), ("", None)]
)
def test_an_offset_is_told_where_there_is_one(position: str, offset: str | None) -> None:
    record = Record("kafka", "orders", position, b"")
    found = dict(headers_of(Rejection(record, None, (Fault("not-json", "no"),)), "", 0))
    assert found.get("__connect.errors.offset") == (offset and offset.encode())
    assert found["__connect.errors.stage"] == b"VALUE_CONVERTER"


async def test_the_record_is_written_as_it_was(kafka: Kafka, make: Make) -> None:
    topic = kafka.topic()
    letters = make(topic)
    await letters.probe()
    gone = Rejection(Record("kafka", "", "", None), None, (Fault("noperm", "k may be stale"),))
    await letters.put([REJECTION, gone], "5a66c5")
    first, second = await asyncio.to_thread(kafka.read, topic, 2)
    assert (first.value(), first.key()) == (RECORD.raw, RECORD.key)
    assert headers(first)["trace"] == b"\x00a"
    assert headers(first)["invalidator.rules"] == b"5a66c5"
    assert (second.value(), second.key()) == (b"", None)


def typed(text: str, folder: Path) -> bytes:
    """What it prints."""
    words = ["bash", "-euo", "pipefail", "-c", text]
    run = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


async def test_the_page_says_how_one_is_looked_at_and_sent_again(
    kafka: Kafka, make: Make, tmp_path: Path
) -> None:
    if shutil.which("kcat") is None:
        missing("the documents call kcat: install kcat")
    dead, again = kafka.topic(), kafka.topic()
    await make(dead).put([REJECTION], "5a66c5")
    (block,) = apart(__file__)
    text = block.text
    mine = {
        "127.0.0.1:9092": kafka.bootstrap,
        "dead-letters": dead,
        "orders": again,
        "-o 17": "-o 0",
    }
    for documented, own in mine.items():
        assert documented in text
        text = text.replace(documented, own)
    said = await asyncio.to_thread(typed, text, tmp_path)
    assert b"0@0 " in said
    assert b"invalidator.error=missing-field" in said
    (found,) = await asyncio.to_thread(kafka.read, again, 1)
    assert found.value() == RECORD.raw


async def test_what_must_not_be_stored_is_masked(kafka: Kafka, make: Make) -> None:
    topic = kafka.topic()
    letters = make(topic, redactor=Redactor(["data.pin", "headers.user"]))
    record = Record("kafka", "o", "0@1", b'{"data": {"pin": 1234}}', None, (("user", b"me"),))
    await letters.put([Rejection(record, None, (Fault("e", "pin is 1234"),))], "")
    (found,) = await asyncio.to_thread(kafka.read, topic, 1)
    assert found.value() == b'{"data":{"pin":"***"}}'
    assert headers(found)["user"] == b"***"
    assert headers(found)["invalidator.redacted"] == b"data.pin,headers.user"
    assert "1234" not in str(headers(found))


async def test_an_absent_topic_is_told_and_not_created(kafka: Kafka, make: Make) -> None:
    letters = make(unique("absent"))
    for attempt in (letters.probe(), letters.put([REJECTION], "")):
        with pytest.raises(Unavailable, match=r"there is no topic absent-.* create it"):
            await attempt
    assert not [name for name in kafka.topics() if name.startswith("absent-")]


async def test_what_the_topic_refuses_is_waited_for_with_advice(kafka: Kafka, make: Make) -> None:
    topic = kafka.create_topic(unique("small"), config={"max.message.bytes": "2000"})
    letters = make(topic)
    large = Rejection(Record("kafka", "o", "0@1", b"x" * 5000), None, FAULTS)
    with pytest.raises(Unavailable, match=r"max\.message\.bytes"):
        await letters.put([large], "")
    await letters.put([REJECTION], "")
    assert len(await asyncio.to_thread(kafka.read, topic, 1)) == 1


async def test_brokers_that_are_away_are_told_and_found_again(
    start_kafka: StartKafka, make: Make
) -> None:
    broker = start_kafka()
    topic = Kafka(broker.bootstrap).topic()
    letters = make(topic, broker.bootstrap)
    await letters.put([REJECTION], "")
    broker.kill()
    with pytest.raises(Unavailable, match=broker.bootstrap):
        await letters.put([REJECTION], "")
    broker.start()

    await until_available(lambda: letters.put([REJECTION], ""), Part("dead letters"))
    found = await asyncio.to_thread(Kafka(broker.bootstrap).read, topic, 2)
    assert len(found) >= 2
