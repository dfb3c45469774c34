"""The private parts of aiokafka that we use: in one file, and there in the installed version."""

import ast
import inspect
from pathlib import Path

import aiokafka.client
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator, NoGroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState, TopicPartitionState
from aiokafka.record.default_records import DefaultRecordBatch

from invalidator.sources.kafka import private

USED = {
    AIOKafkaConsumer: ("_client", "_coordinator", "_fetcher", "_subscription"),
    AIOKafkaClient: ("_conns", "_sync_task", "cluster", "fetch_all_metadata", "send"),
    AIOKafkaConnection: ("_closed_fut", "_protocol", "close", "send"),
    NoGroupCoordinator: ("_reset_committed_task", "check_errors"),
    GroupCoordinator: (
        *("_commit_refresh_task", "_coordination_task", "_do_commit_offsets", "_heartbeat_task"),
        *("_send_req", "group_id"),
        *("check_errors", "ensure_coordinator_known", "generation"),
    ),
    SubscriptionState: (
        *("_last_fetch_ended", "is_assigned"),
        *("reassignment_in_progress", "subscription", "wait_for_assignment"),
    ),
    Assignment: ("state_value", "tps"),
    TopicPartitionState: ("has_valid_position", "lso", "paused", "position"),
    Fetcher: (
        *("_closed", "_create_fetch_waiter", "_fetch_task", "_max_partition_fetch_bytes"),
        *("_notify", "_pending_tasks", "_prefetch_backoff", "_records", "_subscriptions"),
        "_wait_consume_future",
    ),
    FetchResult: ("_partition_records", "_update_position", "check_assignment"),
    PartitionRecords: (
        *("_aborted_producers", "_consume_aborted_up_to", "_contains_abort_marker", "_records"),
        *("_records_iterator", "_tp", "next_fetch_offset"),
    ),
    DefaultRecordBatch: (
        *("base_offset", "is_control_batch", "is_transactional", "next_offset", "producer_id"),
        "validate_crc",
    ),
}


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in USED.items() for name in names]
)
def test_this_version_of_aiokafka_has_it(owner: type, name: str) -> None:
    has = hasattr(owner, name) or f"self.{name}" in inspect.getsource(owner)
    assert has, f"aiokafka's {owner.__name__} no longer has {name}: see private.py"


@pytest.mark.parametrize("name", ["MetadataRequest", "create_conn"])
def test_what_is_fixed_in_the_library_is_what_it_uses(name: str) -> None:
    replaced = getattr(aiokafka.client, name)
    assert replaced.__module__ == private.__name__
    uses = f"{name}(" in inspect.getsource(aiokafka.client)
    assert uses, f"aiokafka.client no longer uses {name}: what private.py fixes has no effect"


def private_names(path: Path) -> set[str]:
    """Return the underscored attributes of others that a file uses."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def test_every_private_part_that_is_used_is_checked_above() -> None:
    used = private_names(Path(private.__file__))
    assert used - {name for names in USED.values() for name in names} == set()


def test_no_other_file_uses_private_parts() -> None:
    house = Path(private.__file__).parents[2]
    others = [*Path(private.__file__).parent.glob("*.py"), *house.rglob("*kafka*.py")]
    found = {p.name: private_names(p) for p in others if p.name != "private.py"}
    assert {name: names for name, names in found.items() if names} == {}
