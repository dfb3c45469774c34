"""Asking a daemon: what answers may be somebody else."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from invalidator.cli import main


class Other(HTTPServer):
    """No daemon. What it is asked, it keeps; what it answers, the test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.status, self.headers, self.body = 200, {"X-Nothing": "1"}, b""
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Other

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def other() -> Iterator[Other]:
    with Other() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_status_escapes_what_could_control_the_terminal(
    other: Other, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"name": "a\x1b[2J", "waiting": "b\x9b31m", "servers": ["c\x07"]}
    figures: dict[str, object] = {
        "events_per_second": {},
        "lag": None,
        "oldest_unsettled_seconds": 0,
    }
    status = {
        "status": "ready",
        "version": "d\x1b",
        "started_at": "",
        "dry_run": False,
        "tickets": 0,
        "waiting": {"e\x1b": "f\x1b"},
        "stuck": [],
        "caches": [part],
        "by_rule": [],
        "rules": {"hash": "", "count": 1, "path": "", "loaded_at": "", "rejected": ["g\x1b[31m"]},
        "sources": [{**part, **figures}],
        "sweeps": {"running": 0, "patterns_waiting": 0},
        "dead_letters": {"entries": None},
    }
    other.body = json.dumps(status).encode()
    for words in ([], ["--json"]):
        assert main(["status", "--url", other.url, *words]) == 0
        out = capsys.readouterr().out
        assert out.count("\\x1b") + out.count("\\u001b") >= 5
        assert all(line.isprintable() for line in out.splitlines())


@pytest.mark.parametrize("words", [["reload"], ["pause"]])
def test_answers_and_errors_are_escaped_too(
    other: Other, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    other.body = json.dumps({"problems": ["a\x1b[2J"], "rules": "", "error": "b\x1b"}).encode()
    other.status = 200 if words == ["reload"] else 409
    assert main([*words, "--url", other.url]) == 1
    said = capsys.readouterr()
    assert "\\x1b" in said.out + said.err
    assert all(line.isprintable() for line in (said.out + said.err).splitlines())


def test_a_call_follows_nobody_elsewhere(
    other: Other, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVALIDATOR_ADMIN__TOKEN", "a-token-of-the-tests")
    other.status, other.headers = 302, {"Location": f"{other.url}/elsewhere"}
    assert main(["pause", "--url", other.url]) == 1
    assert other.asked == ["/pause"]
    assert "this is not the admin port" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["status", "pause", "resume", "reload"])
@pytest.mark.parametrize(("status", "body"), [(200, b"{}"), (404, b'{"a": 1}'), (200, b"[]")])
def test_an_answer_of_somebody_else_is_no_success(
    other: Other, capsys: pytest.CaptureFixture[str], verb: str, status: int, body: bytes
) -> None:
    other.status, other.body = status, body
    assert main([verb, "--url", other.url]) == 1
    assert "this is not the admin port" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:x", "http://[::1", "http://a b"])
def test_what_is_no_url_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", url]) == 1
    assert "unexpected" not in capsys.readouterr().err


def test_a_url_without_its_scheme_is_a_mistake_of_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["status", "--url", "invalidator:8080"]) == 2
    assert "expected --url http://host:port" in capsys.readouterr().err
