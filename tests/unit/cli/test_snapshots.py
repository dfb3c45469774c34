"""What every verb prints in a terminal of 80 columns, compared with tests/unit/cli/snapshots.

SNAPSHOTS=write writes them anew: look at the difference before you commit it.
"""

import asyncio
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from invalidator.cli import main, parser
from invalidator.cli.tail import Printer
from invalidator.deadletters import DeadLetters
from invalidator.model import Cause, Fault, Record, Rejection
from invalidator.redisclient import client
from invalidator.targets.redis.messages import Message, Sender
from tests.integration.piping import AllowKeys

if TYPE_CHECKING:
    import redis

SNAPSHOTS = Path(__file__).parent / "snapshots"
_MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d:\d\d"
RULES = """\
rules:
  - name: order-changed
    on: [order.updated, "order.item.*"]
    invalidate:
      keys: ["order:single:{orderId}", "orders:of-customer:{customerId}:count:{region|lower|md5}"]
      patterns: ["orders:list:{customerId}:*"]
  - {name: user-changed, on: user.updated, invalidate: {keys: "user:{id}", tags: "user:{id}"}}
tests:
  - name: an order that changes drops itself, and the count of the orders of its customer
    event: {type: order.updated, data: {orderId: 1, customerId: 7, region: EU}}
    expect: {keys: ["order:single:1"], patterns: "orders:list:7:*"}
"""
BAD = """\
rules:
  - nam: order-changed
    on: ^order\\..*$
    invalidate: {keys: ["order:{{ id }}", "order:{items[*].id}", "a:long:key:on:one:line"]}
"""
EVENTS = """\
{"type": "order.updated", "data": {"orderId": 1, "customerId": 7, "region": "EU"}}
{"type": "order.updated", "data": {"order_id": 1, "customerId": 7, "region": "EU"}}
{"type": "order.item.added.twice", "data": {"orderId": 1}}
"""
STATUS = {
    "format": 1,
    "version": "0.1.0",
    "host": "worker-1",
    "status": "waiting",
    "started_at": "2026-12-01T10:00:00+00:00",
    "now": "2026-12-01T12:03:00+00:00",
    "dry_run": False,
    "waiting": {
        "redis": "redis://cache:6379/0: connection refused: no server listens on cache:6379"
    },
    "stuck": [],
    "paused": None,
    "rules": {
        "hash": "7d66f737",
        "path": "rules.yaml",
        "loaded_at": "2026-12-01T12:00:00+00:00",
        "count": 4,
        "rejected": [],
    },
    "sources": [
        {
            "name": "kafka",
            "waiting": None,
            "lag": 1234,
            "oldest_unsettled_seconds": 75.2,
            "events_per_second": {"applied": 76.04, "rejected": 0.2, "unmatched": 3},
        }
    ],
    "caches": [{"name": "default", "servers": ["redis://cache:6379/0"], "waiting": "refused"}],
    "sweeps": {"running": 1, "patterns_waiting": 2},
    "tickets": 3,
    "brake": {
        "paused_topics": [{"source": "kafka", "topic": "orders", "why": "rules reject 9 of 10"}]
    },
    "dead_letters": {"entries": 12},
    "by_rule": [
        {
            "rule": "order-changed",
            "events": 45678,
            "events_per_second": 76.04,
            "rejected": 12,
            "looked_up": 200,
            "existed": 180,
        },
        *({"rule": name, "events": 0, "events_per_second": 0} for name in ("users", "prices")),
    ],
    "unmatched": [
        {
            "source": "kafka",
            "type": "order.status.changed",
            "events": 34,
            "near_miss": "order.** would match; orders has order.*",
        },
    ],
}


class Terminal:
    """Runs verbs in 80 columns, and compares what they print."""

    def __init__(
        self, name: str, folder: Path, url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._name = name
        self._folder = folder
        self._url = url
        self._capsys = capsys
        self._said = ""

    def type(self, *words: str, lines: int = 1000) -> None:
        """Type a command, and note so many lines of what it prints."""
        self._capsys.readouterr()
        code = main(words)
        said = self._capsys.readouterr()
        out = "".join(said.out.splitlines(keepends=True)[:lines])
        self.note(f"$ invalidator {' '.join(words)}\n{out}{said.err}[exit code {code}]\n")

    def note(self, text: str) -> None:
        self._said += self._normal(text)

    def check(self) -> None:
        """Compare with the snapshot, and see that every line fits."""
        shown = [line for line in self._said.splitlines() if not line.startswith("$ ")]
        assert [line for line in shown if len(line) > 80 and " " in line[4:]] == []
        path = SNAPSHOTS / f"{self._name}.txt"
        if os.environ.get("SNAPSHOTS") == "write":
            path.write_text(self._said)
        assert self._said == path.read_text()

    def _normal(self, text: str) -> str:
        text = text.replace(self._url, "redis://127.0.0.1:6379/0").replace(f"{self._folder}/", "")
        text = re.sub(r"http://127\.0\.0\.1:\d{4,}", "http://127.0.0.1:8080", text)
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "0b1e6d0a-5d3c-4c0e-9d0b-1f2a3b4c5d6e", text)
        text = re.sub(r"\b1[678]\d{11}-\d+", "1796098316024-0", text)
        text = re.sub(r"\d+ ms\b", "9 ms", text)
        text = re.sub(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d:\d\d", "2026-12-01 12:00:00+00:00", text
        )
        text = re.sub(r"\b\d\d:\d\d:\d\d\.\d{3}", "12:00:00.123", text)
        text = re.sub(r"\b\d+s ago", "3s ago", text)
        text = re.sub(r"^(\s+)\d+s  ", r"\g<1>3s  ", text, flags=re.MULTILINE)
        text = re.sub(r"(hash |rules |\()[0-9a-f]{12}\b", r"\g<1>7d66f737a1b2", text)
        text = re.sub(r'"timestamp":"[^"]*"', '"timestamp":"..."', text)
        text = re.sub(r'"who":"[^@"]*@', '"who":"ann@', text)
        text = re.sub(r"\d+s to ", "3s to ", text)
        text = re.sub(r"hit rate .*|no reads yet.*", "hit rate ...", text)
        text = re.sub(r"(?<=in )\d+\.\d s", "0.1 s", text)
        text = re.sub(r"memory .*", "memory ...", text)
        text = re.sub(r"\d+ hits.*|[\d,]+ expired since.*", "...", text)
        return text.replace(socket.gethostname(), "laptop")


@pytest.fixture
def terminal(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Terminal]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", redis_url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "events.ndjson").write_text(EVENTS)
    made = Terminal(request.node.name.removeprefix("test_"), tmp_path, redis_url, capsys)
    yield made
    made.check()


def test_check_and_test(terminal: Terminal) -> None:
    terminal.type("check")
    terminal.type("check", "bad.yaml")
    terminal.type("test", "--rules", "rules.yaml")


def test_explain(terminal: Terminal) -> None:
    event = EVENTS.splitlines()[0]
    terminal.type("explain", event)
    terminal.type("explain", '{"type": "order.item.added.twice"}')
    terminal.type("explain", "@events.ndjson")
    terminal.type("explain", "--key", "order:single:1", "--live")


def test_init_help_and_version(terminal: Terminal) -> None:
    terminal.type("init", "shop")
    terminal.type("init", "shop")
    terminal.type("version")
    terminal.type("help", "reload")
    terminal.type("help", "pubish")


def test_settings(terminal: Terminal) -> None:
    terminal.type("settings", "--redis-url", "redis://:secret@10.0.0.1/0", lines=15)


def test_publish(
    terminal: Terminal, redis_now: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.cli.publish.WITHIN", 0.1)
    words = ("publish", "order.updated", '{"orderId": 1, "customerId": 7, "region": "EU"}')
    terminal.type(*words)
    redis_now.xgroup_create("orders", "invalidator", mkstream=True)
    terminal.type(*words, "--stream", "orders", "--set", "order:single:1=x")


def test_purge(terminal: Terminal, redis_now: "redis.Redis", allow_keys: AllowKeys) -> None:
    allow_keys("invalidator:purges")
    redis_now.mset({"user:1": "x", "orders:list:7:1": "x"})
    terminal.type("purge", "--key", "user:1", "--pattern", "orders:list:*", "--dry-run")
    terminal.type("purge", "--key", "user:1", "--why", "wrong", "--yes")


def test_replay(terminal: Terminal, redis_now: "redis.Redis") -> None:
    for line in EVENTS.splitlines():
        redis_now.xadd("orders", {"event": line})
    Path("new.yaml").write_text(RULES.replace("order:single:", "order:v2:"))
    words = ("replay", "--stream", "orders", "--id", "0-0")
    terminal.type(*words, "--dry-run", "--live", "--rules", "new.yaml", "--compare", "rules.yaml")
    terminal.type("explain", "--stream", "orders", "--last", "1")


def test_audit(terminal: Terminal, redis_now: "redis.Redis") -> None:
    redis_now.set("order:single:1", "x", ex=1000)
    redis_now.set("session:1", "x")
    terminal.type("audit")


def test_tail(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(lambda message: message.names, as_json=False)
    for cause in (Cause("kafka", "4be1"), Cause("purge", "", "ann@laptop", "wrong prices")):
        names = ("order:single:ord_1", f"orders:{'x' * 30}")
        sender = Sender("9f0c", 5)
        printer.tell(
            Message("applied", sender, 7, 1_700_000_000_123, "default", "keys", names, cause)
        )
    terminal.note(capsys.readouterr().out)


def test_dead(terminal: Terminal, redis_url: str, allow_keys: AllowKeys) -> None:
    allow_keys("invalidator:dead")
    missing = "the event has no orderId; it has order_id, customerId; did you mean {order_id}?"
    fault = Fault("missing-field", missing, "order-changed", "order:single:{orderId}")
    raw = EVENTS.splitlines()[1].encode()
    record = Record("kafka", "orders", "3@1042", raw)
    unread = Rejection(
        Record("kafka", "orders", "3@1043", b"x"),
        None,
        (Fault("not-json", "not JSON: a character that begins no value (byte 0)"),),
    )

    async def bury() -> None:
        letters = DeadLetters(client(redis_url, 2.0), "the state")
        await letters.put([unread, Rejection(record, "order.updated", (fault,))], "5a66c5c7f2ab")
        await letters.aclose()

    with capture_logs():
        asyncio.run(bury())
    terminal.type("dead", "list")
    terminal.type("dead", "list", "--rule", "nope")
    terminal.type("dead", "show")
    terminal.type("dead", "stats")
    terminal.type("dead", "replay", "--all")
    terminal.type("dead", "drop", "--all", "--yes")


class _Daemon(BaseHTTPRequestHandler):
    """Answers like a daemon."""

    def do_GET(self) -> None:
        answers: dict[str, Any] = {
            "/status": STATUS,
            "/reload": {"rules": "7d66f737", "problems": []},
        }
        path = self.path.partition("?")[0]
        body = json.dumps(answers.get(path, {"status": "done", "host": "worker-1"})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def test_control(terminal: Terminal, allow_keys: AllowKeys) -> None:
    with HTTPServer(("127.0.0.1", 0), _Daemon) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for words in (["status"], ["pause", "--why", "x"], ["resume"], ["reload"]):
            terminal.type(*words, "--url", url)
        server.shutdown()
    terminal.type("pause", "--all", "--why", "a restore")
    terminal.type("resume", "--all")
    terminal.type("status", "--url", "http://127.0.0.1:1")


def verbs() -> Iterator[Sequence[str]]:
    for name, verb in _verbs(parser()).items():
        yield (name,)
        yield from ((name, inner) for inner in _verbs(verb))


def _verbs(of: Any) -> dict[str, Any]:
    found = [a.choices for a in of._actions if type(a).__name__ == "_SubParsersAction"]
    return dict(found[0]) if found else {}


@pytest.mark.parametrize("words", [(), *verbs()], ids=" ".join)
def test_help_fits_80_columns(
    words: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_colours_are_for_terminals_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    for terminal, no_color, coloured in ((True, "", True), (True, "1", False), (False, "", False)):
        monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)  # noqa: B023
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setenv("TERM", "xterm")
        main(["check", str(tmp_path / "bad.yaml")])
        assert ("\x1b[31m" in capsys.readouterr().out) is coloured
