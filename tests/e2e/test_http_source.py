"""Events by HTTP: answered when they are applied, with what was deleted."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.backends import until_sync
from tests.backends.waiting import LIMIT
from tests.conftest import StartRedis
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import dead_letters, event, looking

TOKEN = "a-token-of-the-orders-service"


class Caller:
    """Calls the port for events."""

    def __init__(self, port: int, token: str = TOKEN) -> None:
        self._url = f"http://127.0.0.2:{port}"
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        request = urllib.request.Request(
            self._url + path, body, {**self._headers, **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


def test_a_request_is_answered_with_what_became_of_its_event(
    run_daemon: RunDaemon, start_redis: StartRedis
) -> None:
    server = start_redis()
    daemon = run_daemon(
        REDIS_URL=server.url,
        HTTP__HOST="127.0.0.2",
        HTTP__PORT="0",
        HTTP__ROUTES__ORDERS=f"token:{TOKEN}",
        HTTP__WAIT="1s",
        HTTP__BUFFER="2",
        HTTP__MAX_BYTES="2KiB",
    ).await_ready()
    port = daemon.events("http-listening")[0]["port"]
    caller = Caller(port)
    with looking(server.url) as now:
        now.set("order:single:o1", "old")
        status, answer = caller.call("/orders", event(orderId="o1"))
        assert (status, answer["status"], answer["existed"]) == (200, "applied", 1)
        assert answer["invalidated"] == {"default": {"keys": ["order:single:o1"]}}
        assert not now.exists("order:single:o1")

        status, answer = caller.call("/orders", b"no JSON")
        assert (status, answer["rejected"][0]["error"]) == (200, "not-json")
        (letter,) = dead_letters(now)
        assert (letter["origin"], TOKEN in str(letter)) == ("orders", False)

        assert Caller(port, "another-token-than-it").call("/orders", event(orderId="o1"))[0] == 401
        assert caller.call("/items", event(orderId="o1"))[0] == 404
        assert caller.call("/receipts/unknown")[0] == 404
        assert caller.call("/orders", b" " * 2049)[0] == 413

        now.set("order:single:o2", "old")
        server.freeze()
        status, pending = caller.call("/orders", event(orderId="o2"))
        assert (status, pending["status"]) == (202, "pending")
        receipt = f"/receipts/{pending['receipt']}"
        assert caller.call(receipt)[0] == 202
        briefly = {"Prefer": "respond-async"}
        until_sync(lambda: caller.call("/orders", event(), briefly)[0] == 503, what="no room")
        server.thaw()
        until_sync(lambda: caller.call(receipt)[0] == 200)
        assert caller.call(receipt)[1]["status"] == "applied"
        assert not now.exists("order:single:o2")
    assert daemon.stop() == 0
