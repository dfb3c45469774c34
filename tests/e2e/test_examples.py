"""examples/, each served or worked by its framework's own program."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.backends import until_sync
from tests.backends.redis_server import RedisServer
from tests.backends.server import free_port
from tests.conftest import StartRedis
from tests.pages import TOP

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@contextmanager
def running(server: RedisServer, *words: str, **more: str) -> Iterator[IO[bytes]]:
    """Run a module, and yield its output."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            env=os.environ | {"REDIS_URL": server.url} | more,
            cwd=TOP,
            stdout=output,
            stderr=output,
        )
        try:
            yield output
            assert process.poll() is None, said(output)
        finally:
            process.terminate()
            process.wait(60)


def said(output: IO[bytes]) -> str:
    return os.pread(output.fileno(), 1 << 20, 0).decode()


@contextmanager
def serving(server: RedisServer, *words: str, **more: str) -> Iterator[Ask]:
    """Serve an app on a port, and yield a function that asks it."""
    port = free_port()

    def ask(path: str, method: str = "GET") -> tuple[int, Any]:
        url = f"http://127.0.0.1:{port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None
        except OSError:
            return 0, None

    with running(server, *(word.replace("PORT", str(port)) for word in words), **more):
        until_sync(lambda: ask("/stats")[0] == 200, what="the app answers")
        yield ask


def test_fastapi(server: RedisServer) -> None:
    with serving(server, "uvicorn", "examples.fastapi_orders:app", "--port", "PORT") as ask:
        assert [ask("/orders/1") for _ in range(3)] == [(200, 5)] * 3
        assert ask("/orders/1?total=7", "PUT")[0] == 200
        assert ask("/orders/1") == (200, 7)
        assert ask("/orders/1/drop", "POST")[0] == 200
        assert ask("/orders/1") == (200, 7)
        assert ask("/orders/9")[0] == 404
        until_sync(lambda: ask("/stats")[1]["views"] == {"1": 5, "9": 1})
        assert ask("/stats")[1]["loads"] == {"1": 3, "9": 1}


def test_starlette(server: RedisServer) -> None:
    with serving(server, "uvicorn", "examples.starlette_orders:app", "--port", "PORT") as ask:
        assert [ask("/orders/1") for _ in range(3)] == [(200, 5)] * 3
        assert ask("/orders/1?total=7", "PUT") == (200, 7)
        assert ask("/stats")[1]["loads"] == {"1": 2}


def test_django(server: RedisServer, tmp_path: Path) -> None:
    words = ("examples.django_orders", "runserver", "--noreload", "PORT")
    with serving(server, *words, DATABASE=str(tmp_path / "orders.sqlite3")) as ask:
        assert ask("/orders/1?total=5", "PUT") == (200, {"total": 5, "orders": 1})
        assert [ask("/orders/1") for _ in range(3)] == [(200, {"total": 5, "orders": 1})] * 3
        assert ask("/stats")[1]["loads"] == {"single": 1, "count": 1}
        assert ask("/orders/1?total=6&fail", "PUT")[0] == 500
        assert ask("/orders/1") == (200, {"total": 5, "orders": 1})
        assert ask("/stats")[1]["loads"] == {"single": 1, "count": 1}
        assert ask("/orders/2?total=7", "PUT") == (200, {"total": 7, "orders": 2})


def test_celery(server: RedisServer) -> None:
    quick = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    words = ("celery", "--app", "examples.celery_orders", "worker", "--concurrency", "2", *quick)
    with running(server, *words) as output:
        done = client_of(server, "examples.celery_orders")
        assert json.loads(done) == [6] * 20
        assert said(output).count("loading monday") == 1


def test_rq(server: RedisServer) -> None:
    ids = client_of(server, "examples.rq_orders").split()
    work = [str(Path(sys.executable).with_name("rq")), "worker", "--burst", "--url", server.url]
    done = subprocess.run(
        work,
        env=os.environ | {"REDIS_URL": server.url},
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("loading monday") == 1
    assert [(done.stdout + done.stderr).count(f"Job OK ({each})") for each in ids] == [1, 1, 1]


def client_of(server: RedisServer, module: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ | {"REDIS_URL": server.url},
        cwd=TOP,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
