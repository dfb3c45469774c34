"""`invalidator publish --to kafka`, on a real broker."""

import json
from collections.abc import Callable

import pytest

from invalidator.cli import main
from tests.backends.kafka_client import Kafka
from tests.backends.kafka_secure import PASSWORD, USER, SecureBroker

Output = pytest.CaptureFixture[str]
Publish = Callable[..., int]


@pytest.fixture
def publish(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Publish:
    monkeypatch.setenv("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    return lambda *words: main(["publish", "order.updated", '{"orderId": "ord_1"}', *words])


def test_a_record_has_the_key_and_the_headers_and_its_place_is_said(
    kafka: Kafka, publish: Publish, capsys: Output
) -> None:
    topic = kafka.topic(partitions=3)
    words = ["--topic", topic, "--record-key", "ord_1", "--header", "trace=a=1", "--header", "b="]
    assert publish(*words) == 0
    (record,) = kafka.read(topic, 1)
    assert (record.key(), record.headers()) == (b"ord_1", [("trace", b"a=1"), ("b", b"")])
    event = json.loads(record.value() or b"")
    assert (event["type"], event["data"]) == ("order.updated", {"orderId": "ord_1"})
    assert capsys.readouterr().out == (
        f"published order.updated to topic {topic} of {kafka.bootstrap}\n"
        f"  id {event['id']}, partition {record.partition()}, offset 0\n"
    )


def test_the_key_decides_the_partition_as_in_other_clients(kafka: Kafka, publish: Publish) -> None:
    topic = kafka.topic(partitions=5)
    keys = ("a", "ord_1", "customer:7")
    java = kafka.producer({"partitioner": "murmur2_random"})
    for key in keys:
        java.produce(topic, b"{}", key)
        assert publish("--topic", topic, "--record-key", key) == 0
    assert java.flush(60) == 0
    found = {(record.key(), record.partition()) for record in kafka.read(topic, 2 * len(keys))}
    assert len(found) == len(keys)


def test_a_partition_can_be_chosen(kafka: Kafka, publish: Publish, capsys: Output) -> None:
    topic = kafka.topic(partitions=3)
    assert publish("--topic", topic, "--record-key", "k", "--partition", "2") == 0
    assert kafka.ends(topic) == {0: 0, 1: 0, 2: 1}
    assert publish("--topic", topic, "--partition", "3") == 2
    assert f"topic {topic} has 3, from 0 to 2" in capsys.readouterr().err


def test_the_first_topic_that_is_no_pattern_is_taken_where_only_kafka_is_read(
    kafka: Kafka, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic()
    monkeypatch.setenv("INVALIDATOR_KAFKA__TOPICS", f"^none.*,{topic},other")
    assert publish() == 0
    assert kafka.ends(topic) == {0: 1}


def test_a_topic_that_is_not_there_is_named_and_not_created(
    kafka: Kafka, publish: Publish, capsys: Output
) -> None:
    assert publish("--topic", "no-such-topic") == 2
    assert f"{kafka.bootstrap} has no topic no-such-topic" in capsys.readouterr().err
    assert "no-such-topic" not in kafka.topics()


def test_a_broker_that_is_away_is_one_line(publish: Publish, capsys: Output) -> None:
    assert publish("--topic", "t", "--bootstrap-servers", "127.0.0.1:1") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("invalidator: kafka: 127.0.0.1:1: ")


def test_without_a_kafka_the_settings_to_make_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.delenv("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    assert main(["publish", "t", "{}", "--to", "kafka"]) == 2
    assert "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS" in capsys.readouterr().err


def test_a_broker_that_wants_a_password_gets_it(
    secure_kafka: SecureBroker, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    topic = Kafka(secure_kafka.bootstrap).topic()
    for name, value in {
        "BOOTSTRAP_SERVERS": secure_kafka.listener("sasl"),
        "TOPICS": topic,
        "SASL__MECHANISM": "scram-sha-256",
        "SASL__USERNAME": USER,
        "SASL__PASSWORD": PASSWORD,
    }.items():
        monkeypatch.setenv(f"INVALIDATOR_KAFKA__{name}", value)
    assert main(["publish", "t", "{}"]) == 0
    monkeypatch.setenv("INVALIDATOR_KAFKA__SASL__PASSWORD", "sesame")
    assert main(["publish", "t", "{}"]) == 1
    said = capsys.readouterr().err
    assert "it rejects our login" in said
    assert "sesame" not in said
