"""What docs/edge.md says is done here, with its rules and its VCL, at a real Varnish."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.backends import until_sync
from tests.backends.choose import missing
from tests.backends.origin import Origin
from tests.backends.varnish import NO_VARNISH, PAGE, Varnish
from tests.e2e.conftest import RunDaemon
from tests.e2e.process import DaemonProcess, run_program
from tests.integration.piping import AllowKeys
from tests.pages import Page, apart

RULES = next(block for block in Page(PAGE).blocks if block.file == "rules.yaml")
(BLOCK,) = apart(__file__)
SETTINGS = BLOCK.exports()
EVENT = '{"type": "product.updated", "data": {"id": 7}}'
PURGED = {"/products/7": "", "/home": "home product:7", "/search/7/x?page=2": "search"}
KEPT = {"/products/70": "product:70", "/search/70/x": "home", "/other": "home"}


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        origin.tags |= PURGED | KEPT
        yield origin


@pytest.fixture
def varnish(origin: Origin) -> Iterator[Varnish]:
    if not Varnish.available():
        missing(NO_VARNISH)
    with Varnish(origin.port) as varnish:
        yield varnish


@pytest.fixture
def settings(varnish: Varnish, redis_url: str, tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "pages.yaml"
    path.write_text(RULES.text)
    assert SETTINGS == {"EDGE__URLS__PAGES": "http://127.0.0.1:6081"}
    own = {"RULES": str(path), "REDIS_URL": redis_url, "STREAMS__KEYS": "events"}
    return own | {"EDGE__URLS__PAGES": varnish.url}


def pages(varnish: Varnish) -> dict[str, str]:
    """Return what visitors see now; it is cached from then on."""
    return {path: varnish.get(path)[1] for path in PURGED | KEPT}


def changed(varnish: Varnish, before: dict[str, str]) -> set[str]:
    now = pages(varnish)
    return {path for path in now if now[path] != before[path]}


def test_an_event_deletes_the_entry_and_purges_the_pages_twice(
    varnish: Varnish,
    settings: dict[str, str],
    run_daemon: RunDaemon,
    redis_now: redis.Redis,
) -> None:
    first = pages(varnish)
    assert pages(varnish) == first
    redis_now.set("product:7", "old")
    daemon = run_daemon(**settings, ANNOUNCE="always").await_ready()
    listener: Any = redis_now.pubsub()  # type: ignore[no-untyped-call]
    listener.subscribe("invalidator:applied")
    redis_now.xadd("events", {"event": EVENT})
    until_sync(lambda: varnish.get("/search/7/x?page=2")[1] != first["/search/7/x?page=2"])
    assert not redis_now.exists("product:7")  # it was gone before
    assert changed(varnish, first) == {*PURGED}
    second = pages(varnish)
    assert settled(daemon) == 0  # the second pass is to come
    until_sync(lambda: settled(daemon) == 1)
    assert changed(varnish, second) == {*PURGED}
    assert announced(listener) == {("pages", "tags", "product:7")}
    listener.close()
    _shows_its_edge(daemon, varnish)
    assert daemon.stop() == 0
    redis_now.delete("events")


def is_gone(now: redis.Redis, key: str) -> bool:
    return not now.exists(key)


def settled(daemon: DaemonProcess) -> float:
    return daemon.metric("invalidator_events_total", outcome="applied")


def announced(listener: Any) -> set[tuple[str, str, str]]:
    found = set()
    while message := listener.get_message(timeout=1.0):
        said = json.loads(message["data"]) if message["type"] == "message" else {}
        found |= {(said["cache"], said["kind"], name) for name in said.get("names", ())}
    return {entry for entry in found if entry[:2] == ("pages", "tags")}


def _shows_its_edge(daemon: DaemonProcess, varnish: Varnish) -> None:
    caches = {cache["name"]: cache for cache in json.loads(daemon.admin("/status")[1])["caches"]}
    cache = caches["pages"]
    assert (cache["target"], cache["servers"]) == ("varnish", [varnish.url])
    assert daemon.metric("invalidator_names_total", cache="pages", kind="tags") == 2
    assert daemon.metric("invalidator_edge_requests_total", cache="pages", status="200") == 6


def test_a_varnish_that_is_down_holds_up_nothing_but_the_acknowledgement(
    varnish: Varnish,
    settings: dict[str, str],
    run_daemon: RunDaemon,
    redis_now: redis.Redis,
) -> None:
    rules = Path(settings["RULES"])
    rules.write_text(RULES.text.replace("cache: pages", "cache: pages\n    repeat_after: 0s"))
    daemon = run_daemon(**settings, EDGE__TIMEOUT="500ms").await_ready()
    varnish.stop()
    for number in (7, 8):
        key = f"product:{number}"
        redis_now.set(key, "old")
        redis_now.xadd("events", {"event": EVENT.replace("7", str(number))})
        until_sync(partial(is_gone, redis_now, key))
    until_sync(lambda: "cache pages" in daemon.admin("/readyz")[1])
    assert daemon.metric("invalidator_edge_waiting_names", part="cache pages") >= 3
    assert daemon.admin("/livez")[0] == 200
    pending: Any = redis_now.xpending("events", "invalidator")
    assert pending["pending"] == 2
    varnish.start()
    until_sync(lambda: settled(daemon) == 2)
    assert daemon.await_ready().stop() == 0
    redis_now.delete("events")


def test_verbs_know_the_edge(
    varnish: Varnish, settings: dict[str, str], allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:purges")
    before = pages(varnish)
    code, said = run_program("explain", EVENT, "--live", "--rules", settings["RULES"], **settings)
    assert "product:7  by product:{id}  in pages  (at the edge, which does not say)" in said, said
    words = ("purge", "--cache", "pages", "--tag", "product:7", "--rules", settings["RULES"])
    code, said = run_program(*words, "--dry-run", **settings)
    assert (code, changed(varnish, before)) == (0, set())
    code, said = run_program(*words, "--why", "test", "--yes", **settings)
    assert (code, changed(varnish, before)) == (0, {"/home"}), said
    assert "purged: 1 name at the edge" in said
    code, said = run_program(*words[:3], "--version", "v", "--why", "x", "--yes", **settings)
    assert code == 2
    assert "has no versions" in said
