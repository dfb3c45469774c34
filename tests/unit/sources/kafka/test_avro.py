"""Avro by the schemas of a registry, which is an HTTP server here."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from invalidator.errors import ConfigError, Unavailable
from invalidator.model import Batch, Record, Slice
from invalidator.runtime.health import Health
from invalidator.settings import Settings
from invalidator.settings.model import Kafka
from invalidator.settings.model import Registry as RegistrySettings
from invalidator.sources import kafka as kafka_sources
from invalidator.sources.kafka.avro import GLOBAL_ID, RECORD, AvroDecoder
from invalidator.sources.kafka.brokers import Brokers
from invalidator.sources.kafka.registry import ASK_AGAIN, NAME, Registry
from tests.backends import until
from tests.backends.registry import SchemaRegistry, avro, bare, schema_registry

MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
EVENT = {"orderId": "o1", "customerId": "c7"}


class Kept:
    """A source that counts how often it was kept alive."""

    times = 0

    async def keep_alive(self) -> None:
        self.times += 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[SchemaRegistry]:
    async with schema_registry() as started:
        yield started


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def decoder(server: SchemaRegistry, health: Health, clock: Clock) -> AvroDecoder:
    return decoder_on(server.url, health, clock)


def decoder_on(
    url: str, health: Health, clock: Clock, kind: str = "confluent", limit: int = 1 << 20
) -> AvroDecoder:
    settings = RegistrySettings.model_validate({"url": SecretStr(url), "format": kind})
    registry = Registry(settings, Brokers(["b:1"]).trusted, clock)
    part = health.part(NAME)
    return AvroDecoder(registry, part, apicurio=kind == "apicurio", limit=limit)


def batch(*values: bytes | None, headers: Any = (), key: bytes | None = None) -> Batch:
    def record(at: int) -> Record:
        own = tuple(headers[at]) if headers else ()
        return Record("kafka", "orders", f"0@{at}", values[at], key=key, headers=own)

    return Batch.of("kafka", [Slice("orders", list(values), record, headers)], "ends")


async def decoded(decoder: AvroDecoder, given: Batch) -> Batch:
    found = await decoder.decode(given, Kept())
    assert found
    assert found.ends == given.ends
    assert found.events == given.events
    return found


async def test_records_become_json_and_name_their_schema(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    server.add(7)
    (part,) = (await decoded(decoder, batch(avro(7, EVENT), avro(7, EVENT)))).slices
    assert [json.loads(value or b"") for value in part.values] == [EVENT] * 2
    assert part.headers[1] == [(RECORD, b"com.shop.OrderUpdated")]
    assert json.loads(part.record(1).raw or b"") == EVENT
    assert part.record(1).position == "0@1"


async def test_each_schema_is_asked_for_once(decoder: AvroDecoder, server: SchemaRegistry) -> None:
    server.add(7)
    server.add(8)
    for _ in range(2):
        await decoded(decoder, batch(avro(7, EVENT), avro(8, EVENT), avro(7, EVENT)))
    assert sorted(server.asked) == ["/schemas/ids/7", "/schemas/ids/8"]


async def test_what_json_has_no_word_for_becomes_text(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    logical = {
        "day": ({"type": "int", "logicalType": "date"}, date(2026, 12, 1)),
        "at": ({"type": "long", "logicalType": "timestamp-millis"}, MIDNIGHT),
        "price": (
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            Decimal("12.50"),
        ),
        "id": ({"type": "string", "logicalType": "uuid"}, UUID(int=1)),
        "raw": ("bytes", b"a\xff"),
        "maybe": (["null", "string"], None),
        "tags": ({"type": "map", "values": "long"}, {"a": 1}),
    }  # fmt: skip
    fields = [{"name": name, "type": kind} for name, (kind, _) in logical.items()]
    schema = {"type": "record", "name": "All", "fields": fields}
    server.add(1, schema)
    event = {name: value for name, (_, value) in logical.items()}
    (part,) = (await decoded(decoder, batch(avro(1, event, schema)))).slices
    assert json.loads(part.values[0] or b"") == {
        "day": "2026-12-01",
        "at": "2026-12-01T00:00:00+00:00",
        "price": "12.50",
        "id": str(UUID(int=1)),
        "raw": "a\xff",
        "maybe": None,
        "tags": {"a": 1},
    }


async def test_an_unknown_schema_is_refused_and_the_others_go_on_in_order(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    server.add(7)
    given = [avro(7, EVENT), avro(99, EVENT), avro(99, EVENT), avro(7, EVENT), None, b'{"a": 1}']
    found = await decoded(decoder, batch(*given))
    assert [len(part.values) for part in found.slices] == [1, 2, 3]
    refused = found.slices[1]
    assert refused.refused
    assert refused.refused.error == "unknown-schema"
    assert [refused.record(at).raw for at in range(2)] == given[1:3]
    assert found.slices[2].values[1:] == [None, b'{"a": 1}']
    assert [found.slices[2].record(at).position for at in range(3)] == ["0@3", "0@4", "0@5"]


async def test_an_unknown_schema_is_asked_for_again_after_a_while(
    decoder: AvroDecoder, server: SchemaRegistry, clock: Clock
) -> None:
    for _ in range(3):
        await decoded(decoder, batch(avro(7, EVENT)))
    assert server.asked == ["/schemas/ids/7"]
    server.add(7)
    clock.now = ASK_AGAIN + 1
    (part,) = (await decoded(decoder, batch(avro(7, EVENT)))).slices
    assert part.refused is None


@pytest.mark.parametrize("state", ["down", "lost"])
async def test_a_registry_that_does_not_answer_is_waited_for(
    decoder: AvroDecoder, server: SchemaRegistry, health: Health, state: str
) -> None:
    server.add(7)
    setattr(server, state, True)
    source = Kept()
    waiting = asyncio.create_task(decoder.decode(batch(avro(7, EVENT)), source))
    await until(lambda: source.times > 1)
    assert server.url in health.waiting()[NAME]
    setattr(server, state, False)
    found = await waiting
    assert found
    assert found.slices[0].refused is None
    assert health.waiting() == {}


async def test_a_stop_ends_the_wait(decoder: AvroDecoder, server: SchemaRegistry) -> None:
    server.down = True
    waiting = asyncio.create_task(decoder.decode(batch(avro(7, EVENT)), Kept()))
    await until(lambda: server.asked)
    decoder.stop()
    assert await waiting is None


async def test_a_login_is_sent_and_never_shown(
    server: SchemaRegistry, health: Health, clock: Clock
) -> None:
    server.add(7)
    server.login = "Basic S0VZOlMzQ1JFVA=="
    url = server.url.replace("http://", "http://KEY:S3CRET@")
    await decoded(decoder_on(url, health, clock), batch(avro(7, EVENT)))
    wrong = decoder_on(url.replace("S3CRET", "WR0NG"), health, clock)
    with pytest.raises(Unavailable, match="status 401") as refused:
        await wrong._registry.look_up(7)
    assert "WR0NG" not in str(refused.value)


async def test_schemas_that_refer_to_others_are_put_together(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    money = {
        "type": "record",
        "name": "com.shop.Money",
        "fields": [{"name": "cents", "type": "int"}],
    }
    priced = {
        "type": "record",
        "name": "com.shop.Priced",
        "fields": [{"name": "sku", "type": "string"}, {"name": "price", "type": "com.shop.Money"}],
    }  # fmt: skip
    whole = priced | {"fields": [priced["fields"][0], {"name": "price", "type": money}]}
    server.subjects["money"] = {"id": 1, "schema": json.dumps(money)}
    reference = {"name": "com.shop.Money", "subject": "money", "version": 1}
    server.add(2, priced, references=[reference])
    event = {"sku": "s", "price": {"cents": 5}}
    (part,) = (await decoded(decoder, batch(avro(2, event, whole)))).slices
    assert json.loads(part.values[0] or b"") == event


async def test_apicurio_names_schemas_in_eight_bytes_or_in_a_header(
    server: SchemaRegistry, health: Health, clock: Clock
) -> None:
    number = 5_000_000_000
    server.add(number)
    decoder = decoder_on(server.url, health, clock, "apicurio")
    headers = [[], [(GLOBAL_ID, number.to_bytes(8))]]
    given = batch(avro(number, EVENT, frame=">bQ"), bare(EVENT), headers=headers)
    (part,) = (await decoded(decoder, given)).slices
    assert [json.loads(value or b"") for value in part.values] == [EVENT] * 2
    (refused,) = (await decoded(decoder, batch(avro(6, EVENT, frame=">bQ")))).slices
    assert refused.refused
    assert refused.refused.error == "unknown-schema"


async def test_json_passes_with_or_without_a_frame_and_protobuf_is_refused(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    server.add(3, schemaType="JSON")
    server.add(4, schemaType="PROTOBUF")
    framed = b"\0\0\0\0\x03" + b'{"type": "a"}'
    found = await decoded(decoder, batch(b'{"type": "a"}', framed, b"\0\0\0\0\x04\n\x01"))
    assert found.slices[0].values == [b'{"type": "a"}'] * 2
    assert found.slices[1].refused
    assert found.slices[1].refused.error == "protobuf"


@pytest.mark.parametrize("payload", [b"", b"\x04o", bare(EVENT) + b"\0"])
async def test_bytes_that_do_not_fit_their_schema_are_refused(
    decoder: AvroDecoder, server: SchemaRegistry, payload: bytes
) -> None:
    server.add(7)
    (part,) = (await decoded(decoder, batch(b"\0\0\0\0\x07" + payload))).slices
    assert part.refused
    assert part.refused.error == "bad-avro"


async def test_a_schema_that_cannot_be_read_is_refused(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    server.add(7, {"type": "no-such-type"})
    (part,) = (await decoded(decoder, batch(avro(7, EVENT)))).slices
    assert part.refused
    assert part.refused.error == "bad-schema"


async def test_keys_are_decoded_for_change_events(
    decoder: AvroDecoder, server: SchemaRegistry
) -> None:
    schema = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}
    server.add(7)
    server.add(8, schema)
    given = batch(avro(7, EVENT), None, key=avro(8, {"id": 5}, schema))
    (part,) = (await decoded(decoder, given)).slices
    assert [part.record(at).key for at in range(2)] == [b'{"id":5}'] * 2


async def test_what_is_too_large_is_left_to_the_rules(
    server: SchemaRegistry, health: Health, clock: Clock
) -> None:
    large = avro(7, EVENT)
    decoder = decoder_on(server.url, health, clock, limit=len(large) - 1)
    (part,) = (await decoded(decoder, batch(large))).slices
    assert part.values == [large]
    assert server.asked == []


def test_without_the_extra_the_mistake_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = RegistrySettings(url=SecretStr("http://registry"))
    settings = Settings(kafka=Kafka(registry=registry))
    monkeypatch.setattr(kafka_sources, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'invalidator\[avro\]'"):
        kafka_sources.decoder_of(settings, Health(), Brokers(["b:1"]))
