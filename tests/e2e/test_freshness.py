"""A rule with verify: stale entries are found, listed and explained."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.backends import until_sync
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess, run_program
from tests.integration.piping import AllowKeys, event
from tests.pages import TOP, Block, Page, apart

if TYPE_CHECKING:
    import redis

(BLOCK,) = apart(__file__)
TRUTH = next(b for b in Page(TOP / "docs" / "freshness.md").blocks if b.file == "truth.yaml")
RULES = """
rules:
  - name: order-changed
    on: order.updated
    invalidate: {keys: ["order:single:{orderId}"]}
    verify: {cached: version, event: version}
"""


def findings(daemon: DaemonProcess) -> list[dict[str, Any]]:
    return list(json.loads(daemon.admin("/freshness")[1])["findings"])


def test_a_stale_entry_is_found_a_second_after_its_event_and_explained(
    run_daemon: RunDaemon,
    redis_url: str,
    redis_now: "redis.Redis",
    tmp_path: Path,
    allow_keys: AllowKeys,
) -> None:
    allow_keys("order:single:*")
    (tmp_path / "rules.yaml").write_text(RULES)
    daemon = run_daemon(
        RULES=str(tmp_path / "rules.yaml"),
        REDIS_URL=redis_url,
        PUBSUB__CHANNELS="orders",
        FRESHNESS__SAMPLE="1",
        FRESHNESS__PER_SECOND="10",
        FRESHNESS__FINDINGS="5",
        FRESHNESS__DELAYS="1s",
    ).await_ready()
    redis_now.set("order:single:o1", b'{"version": 1}')
    redis_now.publish("orders", event(orderId="o1", version=2))
    until_sync(lambda: not redis_now.exists("order:single:o1"))
    redis_now.set("order:single:o1", b'{"version": 1}', ex=600)  # a reader was slow

    (finding,) = until_sync(lambda: findings(daemon))
    assert (finding["key"], finding["why"]) == ("order:single:o1", "slow-reader")

    code, said = run_program("freshness", "--url", daemon.admin_url())
    assert code == 1
    assert "no nine shown yet, 1 of 1 stale" in said
    assert "stale  order:single:o1  cache default, rule order-changed" in said
    assert "order.updated, pubsub orders" in said
    assert "written back by a slow reader" in said
    assert "s to live, at most" in said
    assert daemon.metric("invalidator_freshness_checks_total", outcome="stale", delay="1s") == 1
    assert "order:single" not in daemon.log(), "names are not logged"
    assert daemon.stop() == 0


def test_keys_are_compared_with_the_truth_as_the_page_shows(
    redis_url: str, redis_now: "redis.Redis", postgres: str, tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("product:*", "other:1")
    (tmp_path / TRUTH.file).write_text(TRUTH.text)
    with psycopg.connect(postgres, autocommit=True) as database:
        database.execute("CREATE TABLE product (id int, price numeric, updated_at timestamptz)")
        database.execute(
            "INSERT INTO product SELECT n, 10.50, '2026-01-01T10:00:00Z' "
            "FROM generate_series(1, 9) n"
        )
    right = b'{"price": 10.5, "updated_at": "2026-01-01T11:00:00+01:00"}'
    redis_now.mset({f"product:{number}": right for number in range(1, 9)})
    redis_now.set("product:2", right.replace(b"10.5", b"9.5"))  # an old price
    redis_now.set("product:12", right)  # there is no such row
    redis_now.set("product:no-number", right)
    redis_now.set("other:1", right)
    settings = {"REDIS_URL": redis_url, "FRESHNESS__POSTGRES": postgres}

    def check(block: Block, line: int, *words: str) -> tuple[int, str]:
        written = [word.replace("report.json", report) for word in block.commands()[line]]
        written = [word.replace(TRUTH.file, str(tmp_path / TRUTH.file)) for word in written]
        return run_program(*written[1:], *words, **settings)

    report = str(tmp_path / "report.json")
    code, said = check(BLOCK, 0, "--key", "other:1")
    assert code == 1
    assert "2 keys in" in said
    assert "1 of 2 stale" in said
    assert "stale  product:2  rule product-changed, holds" in said
    assert "not compared  other:1: no rule names this key: only its TTL ends it" in said

    code, said = check(BLOCK, 1, "--per-second", "1000")
    assert code == 1
    found = json.loads((tmp_path / "report.json").read_text())
    assert {finding["key"] for finding in found["findings"]} == {
        *("product:2", "product:12", "product:no-number"),
    }
    assert (found["keys"], found["stale"], found["fresh"]) == (10, 3, 7)
    assert "10.5" not in (tmp_path / "report.json").read_text(), "no value is in the report"

    redis_now.delete("product:2", "product:12", "product:no-number")
    assert check(BLOCK, 1)[0] == 0
    assert redis_now.dbsize() == 8, "it only reads"


def test_the_truth_is_asked_for_by_http(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys("customer:*")
    asked: list[tuple[str, str]] = []

    class Customers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            gone = self.path.endswith("gone")
            self.send_response(404 if gone else 200)
            self.end_headers()
            self.wfile.write(b"" if gone else b'{"row": {"version": 3}}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    redis_now.mset({f"customer:{name}": b'{"version": 3}' for name in ("a/b?c", "gone")})
    redis_now.set("customer:old", b'{"version": 2}')
    with ThreadingHTTPServer(("127.0.0.1", 0), Customers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.server_address[1]}"
        text = TRUTH.text.replace("customers.internal", address)
        (tmp_path / "rules.yaml").write_text(text)
        code, said = run_program(
            *("freshness", "check", "--rules", str(tmp_path / "rules.yaml"), "--json"),
            *("--rule", "customer-changed"),
            REDIS_URL=redis_url,
            FRESHNESS__URL_TOKEN="secret",
        )
        server.shutdown()
        thread.join()
    assert code == 1, said
    found = json.loads(said)
    assert [finding["key"] for finding in found["findings"]] in (
        ["customer:old", "customer:gone"],
        ["customer:gone", "customer:old"],
    )
    assert ("/a%2Fb%3Fc", "Bearer secret") in asked
