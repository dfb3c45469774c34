"""The harness itself: its proxy breaks links as told, its ledger sees what is missing."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.backends import until_sync
from tests.backends.redis_server import RedisServer
from tests.conftest import StartRedis
from tests.faults.__main__ import BEGIN, END, report, write
from tests.faults.catalogue import ROWS
from tests.faults.figures import Figures
from tests.faults.ledger import GROUP, LIST, ORDER, RARE, Ledger
from tests.faults.proxy import Proxy

TYPES = (ORDER, LIST, GROUP, *RARE)


@pytest.fixture
def server(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port, random.Random(1)) as made:
        yield made


@contextmanager
def link(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as made:
        yield made


def ask(made: socket.socket, *words: str) -> bytes:
    """Return the answer; b"" where the connection was closed in order."""
    made.sendall(" ".join(words).encode() + b"\r\n")
    return made.recv(1000)


def test_it_forwards(proxy: Proxy) -> None:
    with link(proxy) as made:
        assert ask(made, "PING") == b"+PONG\r\n"


def test_a_swallowed_reply_is_lost_after_the_work_was_done(
    proxy: Proxy, server: RedisServer
) -> None:
    with link(proxy) as made:
        assert ask(made, "PING") == b"+PONG\r\n"
        proxy.swallow_replies = 1
        with pytest.raises(ConnectionResetError):
            ask(made, "SET", "done", "1")
    assert proxy.swallowed == 1
    with link(proxy) as made:
        assert ask(made, "EXISTS", "done") == b":1\r\n"


def test_a_request_beyond_the_bytes_that_pass_is_reset_and_not_done(proxy: Proxy) -> None:
    with link(proxy) as made:
        proxy.reset_within = 5
        with pytest.raises(ConnectionResetError):
            ask(made, "SET", "done", "1")
    with link(proxy) as made:
        assert ask(made, "EXISTS", "done") == b":0\r\n"


def test_a_silent_link_stays_open_and_carries_nothing_until_it_is_healed(proxy: Proxy) -> None:
    with link(proxy) as made:
        assert ask(made, "PING") == b"+PONG\r\n"
        proxy.silent = True
        made.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(made, "PING")
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            made.recv(100)
    with link(proxy) as made:
        assert ask(made, "PING") == b"+PONG\r\n"


def test_a_deaf_proxy_accepts_no_connection_and_a_reset_ends_all(proxy: Proxy) -> None:
    with link(proxy) as made:
        assert ask(made, "PING") == b"+PONG\r\n"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            ask(made, "PING")
    proxy.deaf = True

    def refused() -> bool:
        try:
            with link(proxy) as made:
                return ask(made, "PING") == b""
        except ConnectionError:
            return True

    until_sync(refused)


def test_the_ledger_distinguishes_applied_dead_stale_and_lost_events() -> None:
    ledger = Ledger(200, random.Random(1), poison=0.1)
    assert {entry.kind for entry in ledger.entries} == {"", *TYPES}
    good = [entry for entry in ledger.entries if entry.keys]
    bad = ledger.poisoned
    assert len(good) + len(bad) == 200
    everything = {key.encode() for key in ledger.keys}
    assert ledger.lost(everything, set()) == ledger.entries
    assert ledger.lost(set(), bad) == []
    assert ledger.lost(set(), set()) == [entry for entry in ledger.entries if not entry.keys]
    half_applied = {good[0].keys[-1].encode()}
    assert ledger.lost(half_applied, bad) == [good[0]]
    assert ledger.stale(half_applied) == [good[0].keys[-1]]
    assert ledger.lost(half_applied, bad | {good[0].raw}) == []
    assert ledger.stale(half_applied, {good[0].raw}) == []


def test_events_are_distinct_and_share_no_key() -> None:
    ledger = Ledger(5_000, random.Random(1), poison=0.1)
    assert len({entry.raw for entry in ledger.entries}) == 5_000
    assert {entry.kind for entry in ledger.entries} == {"", *TYPES}
    assert len(set(ledger.keys)) == len([*ledger.keys])


def test_the_catalogue_has_every_row_of_the_matrix() -> None:
    assert [*ROWS] == [*range(1, 40)]


def test_the_page_keeps_what_was_printed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    text = report([Figures(1, "it breaks", failed=["2 events lost"])], 7, 60.0)
    assert "**failed**: 2 events lost" in text
    write(page, text)
    assert page.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
