"""The rows of the fault matrix: the quick ones, the others marked slow. `make faults` is all."""

import pytest

from tests.backends.choose import NO_OWN_KAFKA, NO_OWN_REDIS, missing
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.kafka_client import Kafka
from tests.backends.redis_server import RedisServer
from tests.faults.catalogue import ROWS
from tests.faults.play import play
from tests.faults.rows import Row

SEED = 7
SLACK = 6.0  # other tests run beside these: `make faults` judges by the limits themselves


@pytest.fixture(autouse=True)
def _backends() -> None:
    if not RedisServer.available():
        missing(NO_OWN_REDIS)
    if not KafkaBroker.available():
        missing(NO_OWN_KAFKA)


def _param(row: Row) -> object:
    marks = [] if row.quick else [pytest.mark.slow]
    return pytest.param(row, id=str(row.number), marks=marks)


@pytest.mark.parametrize("row", [_param(row) for row in ROWS.values() if not row.impossible])
def test_it_holds(row: Row, kafka: Kafka) -> None:
    figures = play(row, SEED, lambda: kafka, short=row.quick, slack=SLACK)
    assert not figures.failed, figures
