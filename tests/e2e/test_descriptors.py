"""Connections to the admin port leave descriptors for sources and caches."""

import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.backends import until_sync
from tests.conftest import StartRedis
from tests.e2e.process import PROGRAM, DaemonProcess
from tests.integration.piping import RULES


def test_idle_connections_do_not_keep_redis_from_reconnecting(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    settings = {"RULES": str(rules), "REDIS_URL": server.url, "STREAMS__KEYS": "orders"}
    command = ["sh", "-c", f'ulimit -n 64; exec "{PROGRAM}" run']
    daemon = DaemonProcess(settings, command=command)
    try:
        daemon.await_ready()
        address = urlsplit(daemon.admin_url())
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection((address.hostname, address.port)))
            server.kill()
            until_sync(lambda: daemon.admin("/readyz")[0] == 503)
            server.start()
            daemon.await_ready()
    finally:
        daemon.close()
