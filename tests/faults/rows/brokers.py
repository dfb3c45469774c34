"""Rows 7-15: Kafka brokers that die, freeze, vanish, forget, or give what cannot be read."""

from confluent_kafka import TopicPartition

from tests.backends import until_sync
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.backends.kafka_cluster import KafkaCluster
from tests.backends.kafka_log import PartitionLog, with_codec
from tests.backends.kafka_secure import SecureBroker
from tests.backends.server import free_port
from tests.backends.tokens import CLIENT, SECRET, token_server
from tests.faults.caches import OneServer
from tests.faults.inlets import Topic
from tests.faults.ledger import RARE_AND_ONCE, RULES
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.faults.rows import row
from tests.faults.stage import Stage
from tests.faults.threads import in_thread

LOSS = 0.02  # the share of portions that are lost on the way


def _from(at: Stage, topic: Topic) -> Load:
    return at.events(OneServer(at.redis()), topic)


@row(7, "the broker is killed (SIGKILL) and started again", recover=30)
def broker_killed(at: Stage) -> None:
    broker = at.broker()
    load = _from(at, at.topic(Kafka(broker.bootstrap)))
    at.daemon()
    at.warm()
    with load.flowing():
        at.pause(2)
        broker.kill()
        at.pause(3)
    broker.start()
    at.healed()


@row(8, "the broker is frozen (SIGSTOP) for 60 s, and wakes up")
def broker_frozen(at: Stage) -> None:
    broker = at.broker()
    load = _from(at, at.topic(Kafka(broker.bootstrap)))
    at.daemon()
    at.warm()
    with load.flowing(rate=50):
        at.pause(1)
        broker.freeze()
        at.pause(at.times(60))
        broker.thaw()
        at.healed()
        at.pause(2)


@row(9, "of three brokers the group's coordinator is killed; the others go on")
def coordinator_killed(at: Stage) -> None:
    cluster = at.start(KafkaCluster())
    topic = at.topic(Kafka(cluster.bootstrap), replicas=3)
    load = _from(at, topic)
    at.daemon()
    at.warm()
    with load.flowing():
        at.pause(2)
        cluster.coordinator(topic.group).kill()
        at.healed()
        at.pause(3)


@row(10, f"the way to the broker is a black hole for 30 s, then loses {LOSS:.0%} for 10 s")
def broker_unreachable(at: Stage) -> None:
    broker, way = _behind_a_proxy(at)
    load = _from(at, at.topic(Kafka(broker.bootstrap), bootstrap=way.address))
    at.daemon()
    at.warm()
    with load.flowing(rate=80):
        at.pause(1)
        way.silent = True
        at.pause(at.times(30))
        way.heal()
        way.loss, way.delay = LOSS, 0.01
        at.pause(at.times(10))
        way.heal()
        at.healed()


def _behind_a_proxy(at: Stage) -> tuple[KafkaBroker, Proxy]:
    """Start a broker that sends clients of the proxy back to the proxy."""
    way = at.proxy(free_port())
    broker = KafkaBroker()
    broker.config |= {
        "listeners": f"PLAINTEXT://{broker.address},PROXIED://127.0.0.1:{way.target},"
        f"CONTROLLER://127.0.0.1:{broker.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{broker.address},PROXIED://{way.address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,"
        "CONTROLLER:PLAINTEXT",
    }
    at.start(broker)
    return broker, way


@row(11, "a batch with a wrong checksum, one of an unknown codec: the others flow", dead=2)
def unreadable(at: Stage) -> None:
    broker = at.broker()
    topic = at.topic(Kafka(broker.bootstrap))
    load = _from(at, topic)
    for partition in (0, 1):
        topic.kafka.produce(topic.name, ["x" * 500], partition=partition)
    codec, checksum = (PartitionLog(broker, topic.name, partition) for partition in (0, 1))
    codec.write(0, with_codec(codec.read(), 7))
    checksum.write(-100, b"y")
    at.daemon()
    load.publish()
    at.healed()
    until_sync(lambda: topic.lag_of(2) + topic.lag_of(3) == 0, what="the others flow")
    at.note(len(load.state.dead()) == 2, "the others waited for what cannot be read")


@row(12, "1% of the events can never work, in six ways", grace=10, quick=True)
def poisoned(at: Stage) -> None:
    redis = at.redis()
    load = at.from_everywhere(OneServer(redis), redis, count=at.times(20_000), poison=0.01)
    at.daemon()
    at.warm()
    load.publish()
    at.healed()


@row(13, "records expire before they are read, then the group's positions do")
def expired(at: Stage) -> None:
    topic = at.topic()
    load = at.events(OneServer(at.redis()), topic, rare=RARE_AND_ONCE)
    first = at.daemon(RULES + load.ledger.gap_rules())
    at.warm()
    first.daemon.stop()
    load.publish(0.5)
    ends = [TopicPartition(topic.name, part, end - 3) for part, end in topic.ends.items()]
    for deleted in topic.kafka.admin.delete_records(ends).values():
        deleted.result(60)
    second = at.daemon()
    load.await_settled()
    at.note(not second.gaps("position lost"), "no gap was told")
    at.note(second.daemon.stop() != 0, "no clean end")
    topic.kafka.admin.delete_consumer_groups([topic.group])[topic.group].result(60)
    load.publish()
    at.healed()
    at.daemon()


@row(14, "partitions are added under load", recover=30)
def new_partitions(at: Stage) -> None:
    topic = at.topic()
    load = _from(at, topic)
    at.daemon()
    at.warm()
    with load.flowing():
        at.pause(1)
        topic.kafka.add_partitions(topic.name, 8)
        topic.connect()
        at.healed()
    load.publish()
    at.note(max(topic.ends) < 4, "nothing was sent to the new partitions")


@row(15, "the server that gives the tokens for Kafka fails for 20 s")
def no_tokens(at: Stage) -> None:
    broker = SecureBroker()
    broker.config["listener.name.oauth.oauthbearer.connections.max.reauth.ms"] = "4000"
    at.start(broker)
    tokens = at.start(in_thread(token_server))
    topic = at.topic(Kafka(broker.bootstrap), bootstrap=broker.listener("oauth"))
    load = _from(at, topic)
    tokens.life = 5.0
    at.daemon(
        KAFKA__SASL__MECHANISM="oauthbearer",
        KAFKA__SASL__TOKEN_URL=tokens.url,
        KAFKA__SASL__CLIENT_ID=CLIENT,
        KAFKA__SASL__CLIENT_SECRET=SECRET,
        KAFKA__SASL__ALLOW_UNENCRYPTED="true",
    )
    at.warm()
    with load.flowing(rate=150):
        tokens.answer = (500, "no tokens today")
        at.pause(at.times(20))
        tokens.answer = None
        at.healed()
