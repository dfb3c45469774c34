"""Records that name very much: the topic settles within 512 MiB, and the probe answers."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.backends import until_sync
from tests.backends.kafka_client import Kafka, unique
from tests.e2e.process import PROGRAM, DaemonProcess

pytestmark = pytest.mark.slow

LIMIT = 512 << 20
BLOCKED = 5.0  # seconds that no probe may take, on a busy machine; it takes 0.2 on an idle one
RULES = "rules:\n" + "".join(
    f"  - {{name: r{at}, on: a, invalidate: {{keys: 'k{at}:{{id}}:{{xs[]}}'}}}}\n"
    for at in range(5)
)
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[list[str]]:
    """Yield what runs the daemon with a limit of memory, where control groups can be made."""
    folder = next((f for f in (GROUPS / "memory", GROUPS) if f.is_dir()), GROUPS) / unique("test")
    program = [str(PROGRAM), "run"]
    try:
        folder.mkdir()
        limit = "memory.max" if (folder / "memory.max").exists() else "memory.limit_in_bytes"
        (folder / limit).write_text(str(LIMIT))
    except OSError:
        yield program
        return
    yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$0" "$@"', *program]
    folder.rmdir()


def event(number: str, many: int) -> dict[str, Any]:
    return {"type": "a", "data": {"id": number, "xs": list(range(many))}}


@pytest.mark.parametrize(
    ("records", "in_each", "many"),
    [(224, 0, 10_000), (16, 20, 10_000), (16, 9_000, 3)],
    ids=["events", "lists", "lists of small events"],
)
def test_a_topic_of_very_many_names_settles(
    kafka: Kafka, redis_url: str, tmp_path: Path, limited: list[str],
    records: int, in_each: int, many: int,
) -> None:  # fmt: skip
    topic, group = kafka.topic(), unique("group")
    for at in range(records):
        events = [event(f"{at}-{n}", many) for n in range(in_each)] or event(str(at), many)
        kafka.produce(topic, [orjson.dumps(events)])
    (tmp_path / "rules.yaml").write_text(RULES)
    settings = {
        "RULES": str(tmp_path / "rules.yaml"),
        "REDIS_URL": redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA__TOPICS": topic,
        "KAFKA__GROUP_ID": group,
        "KAFKA__START": "earliest",
    }
    with closing(DaemonProcess(settings, command=limited)) as daemon:
        daemon.admin_url()
        longest = 0.0

        def settled() -> bool:
            nonlocal longest
            began = time.monotonic()
            assert daemon.admin("/livez")[0] == 200, daemon.log()[-2000:]
            longest = max(longest, time.monotonic() - began)
            return daemon.metric("invalidator_events_total") == records * max(1, in_each)

        until_sync(settled, 300, "the topic is settled")
        until_sync(lambda: kafka.committed(group, topic) == {0: records})
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        assert daemon.stop() == 0
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10
    print(f"peak {peak >> 20} MiB, longest probe {longest:.2f} s")
    assert peak < LIMIT
    assert longest < BLOCKED
