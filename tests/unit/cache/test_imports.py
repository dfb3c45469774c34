"""The read side brings nothing of the daemon into a service."""

import subprocess
import sys

ALONE = """
import sys
import invalidator.cache
loaded = {name for name in sys.modules if name.startswith("invalidator.")}
rooms = {name.split(".")[1] for name in loaded}
print(sorted(rooms))
unwanted = {"aiokafka", "cramjam", "pydantic", "pydantic_settings", "structlog", "yaml", "h11",
            "prometheus_client"}
print(sorted(unwanted & set(sys.modules)))
"""


def test_importing_the_cache_loads_neither_kafka_nor_the_daemon() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, timeout=60
    )
    rooms, unwanted = done.stdout.splitlines()
    assert rooms == "['cache', 'errors', 'layout', 'runtime', 'templates']"
    assert unwanted == "[]"
