"""`invalidator replay` against a real broker and a real Redis."""

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from invalidator.cli import main
from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.e2e.conftest import RULES
from tests.integration.piping import AllowKeys, dead_letters, order

if TYPE_CHECKING:
    from pathlib import Path

    import redis

HOUR = 3_600_000
STALE = {f"order:single:o{n}": "stale" for n in range(6)}


@dataclass
class Site:
    """Six events, one an hour, the last one now; and the settings of the daemon."""

    settings: dict[str, str]
    now: int
    redis: "redis.Redis"
    captured: pytest.CaptureFixture[str]

    def replay(self, *words: str, code: int = 0) -> str:
        """Return its output."""
        self.redis.mset(STALE)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.settings.items():
                patch.setenv(f"INVALIDATOR_{name}", value)
            ended = main(["replay", *words])
        said = self.captured.readouterr()
        assert ended == code, said.err
        return said.out if code == 0 else said.err

    def gone(self) -> list[int]:
        return [n for n, key in enumerate(STALE) if not self.redis.exists(key)]

    def at(self, hours_ago: float) -> str:
        seconds = self.now / 1000 - hours_ago * 3600
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@pytest.fixture
def site(
    redis_url: str,
    redis_now: "redis.Redis",
    rules_file: "Path",
    capsys: pytest.CaptureFixture[str],
) -> Site:
    settings = {"REDIS_URL": redis_url, "RULES": str(rules_file)}
    assert "order:single:" in RULES
    return Site(settings, int(time.time() * 1000), redis_now, capsys)


@pytest.fixture
def topic(site: Site, kafka: Kafka) -> str:
    name = kafka.topic(partitions=2)
    for number in range(6):
        kafka.produce(name, [order(number)], partition=1, timestamp=site.now - (5 - number) * HOUR)
    site.settings |= {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__TOPICS": name,
        "KAFKA__GROUP_ID": unique("group"),
    }
    return name


def test_kafka_is_read_again_by_time_or_by_offset_without_a_group(
    site: Site, topic: str, kafka: Kafka
) -> None:
    group = {"group.id": site.settings["KAFKA__GROUP_ID"]}
    member = Consumer({"bootstrap.servers": kafka.bootstrap, **group})
    until_sync(lambda: commits(member, TopicPartition(topic, 1, 3)), what="the group is somewhere")
    said = site.replay("--since", "90m")
    assert site.gone() == [4, 5]
    assert f"kafka {topic}-1: from 4 to 6" in said
    assert "2 events applied" in said
    site.replay("--from", site.at(3.5), "--to", site.at(1.5), "--rate", "1000")
    assert site.gone() == [2, 3]
    site.replay("--topic", topic, "--partition", "1", "--offset", "1", "--until-offset", "3")
    assert site.gone() == [1, 2]
    site.replay("--topic", topic, "--partition", "1", "--offset", "5")
    assert site.gone() == [5]
    assert kafka.positions(member, topic) == {1: 3}
    member.close()


def commits(member: Consumer, position: TopicPartition) -> bool:
    """Return whether it commits: a coordinator that was just elected rejects it."""
    try:
        member.commit(offsets=[position], asynchronous=False)
    except KafkaException:
        return False
    return True


def test_a_dry_run_of_a_replay_writes_nothing(site: Site, topic: str) -> None:
    said = site.replay("--since", "1d", "--dry-run")
    assert f"kafka {topic}-1: from 0 to 6\n6 events read, nothing was written\n" in said
    assert re.search(r"order\.updated +order-changed +6 +6\n", said)
    assert site.gone() == []


def test_a_dry_run_shows_what_other_rules_would_have_done(
    site: Site, topic: str, tmp_path: "Path"
) -> None:
    (tmp_path / "new.yaml").write_text(RULES.replace("order:single:", "order:v2:"))
    words = ["--since", "1d", "--dry-run", "--rules", str(tmp_path / "new.yaml")]
    told = json.loads(site.replay(*words, "--live", "--compare", site.settings["RULES"], "--json"))
    assert (told["events"], told["keys_looked_up"], told["keys_existing"]) == (6, 6, 0)
    (changed,) = told["comparison"]["types"]
    assert (changed["type"], changed["changed"], changed["more"]) == ("order.updated", 6, 6)
    assert changed["examples"][0] == "+ keys     order:v2:o0  by order-changed"
    assert site.gone() == []


def test_the_newest_events_of_a_topic_are_explained(site: Site, topic: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.settings.items():
            patch.setenv(f"INVALIDATOR_{name}", value)
        assert main(["explain", "--topic", topic, "--last", "2"]) == 0
    said = site.captured.readouterr().out
    assert said.startswith(
        f"{topic} 1@4 order.updated\n+ order-changed: on order.updated\n"
        "    keys     order:single:o4  by order:single:{orderId}\n"
        f"{topic} 1@5 order.updated\n"
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--offset", "7"], "has the offsets 0 to 6, and no 7"),
        (["--offset", "0", "--partition", "2"], "has the partitions 0 to 1, and no 2"),
        (["--offset", "0", "--topic", "no-such"], "no topic named 'no-such'"),
    ],
)
def test_what_does_not_exist_is_reported(
    site: Site, topic: str, kafka: Kafka, words: list[str], what: str
) -> None:
    assert what in site.replay("--topic", topic, "--partition", "1", *words, code=2)
    assert "no-such" not in kafka.topics()


def test_the_end_of_a_topic_may_be_the_mark_of_a_transaction(site: Site, kafka: Kafka) -> None:
    name = kafka.topic()
    producer = kafka.producer({"transactional.id": unique("producer")})
    producer.init_transactions()
    for number, end in ((0, producer.commit_transaction), (1, producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(name, order(number))
        producer.flush()
        end()
    site.settings |= {"KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap, "KAFKA__TOPICS": name}
    site.replay("--since", "1h")
    assert site.gone() == [0]


def test_what_can_never_work_is_a_dead_letter_and_the_rest_is_applied(
    site: Site, topic: str, kafka: Kafka, allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:dead")
    kafka.produce(topic, [b"not json"], partition=0)
    assert "2 events applied; 1 of them rejected" in site.replay("--since", "30m")
    (letter,) = dead_letters(site.redis)
    assert (letter["origin"], letter["raw"]) == (topic, b"not json")
    assert site.gone() == [5]


def test_streams_are_read_again_by_time_or_by_id_without_a_group(site: Site) -> None:
    for number in range(6):
        at = f"{site.now - (5 - number) * HOUR}-0"
        site.redis.xadd("orders", {"event": order(number)}, id=at)
    site.settings["STREAMS__KEYS"] = "orders"
    said = site.replay("--since", "90m")
    assert site.gone() == [4, 5]
    assert "stream orders: from " in said
    site.replay("--from", site.at(3.5), "--to", site.at(1.5))
    assert site.gone() == [2, 3]
    first, until = (f"{site.now - hours * HOUR}-0" for hours in (4, 2))
    site.replay("--stream", "orders", "--id", first, "--until-id", until)
    assert site.gone() == [1, 2]
    assert site.redis.xinfo_groups("orders") == []
    assert "no stream named 'orderz'" in site.replay("--since", "1h", "--stream", "orderz", code=2)
