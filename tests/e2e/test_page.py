"""The page of the admin port in a real browser: what it shows, and that it is safe and usable."""

import os
import re
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backends import until
from tests.backends.browser import Tab, browser
from tests.backends.waiting import LIMIT
from tests.conftest import StartRedis
from tests.e2e.conftest import RunDaemon
from tests.integration.piping import AllowKeys, event, looking, order

if TYPE_CHECKING:
    import redis

CONTROL, TAB, ENTER, LEFT = 2, 9, 13, 37
HOSTILE = "<img src=x onerror=document.title='broken'>"
RULES = """\
version: 1
rules:
  - name: order-changed
    description: "an <b>order</b> <script>document.title='broken'</script>"
    on: order.updated
    invalidate: {keys: ["order:single:{orderId}"]}
  - name: never
    on: [user.gone, "*.purged"]
    when: data.sure == true
    invalidate: {tags: ["{id}"]}
"""
# Text that a person with weak eyes cannot read: less contrast than 4.5 to 1 (WCAG AA).
FAINT = """
(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => {
      v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.textContent}: ${contrast}`);
  }
  return found;
})()
"""
UNLABELLED = """
[...document.querySelectorAll("input, textarea, button, table, section, img")].filter((each) =>
  !(each.labels?.length || each.textContent.trim() || each.hasAttribute("alt")
    || each.hasAttribute("aria-labelledby"))).map((each) => each.outerHTML)
"""


async def shows(tab: Tab, *texts: str) -> None:
    for text in texts:
        await until(partial(tab.ask, f"document.body.innerText.includes({text!r})"), what=text)


def keep(name: str, picture: bytes) -> None:
    """Keep a picture for people, where they ask for it."""
    if folder := os.environ.get("TEST_PICTURES"):
        Path(folder, name).write_bytes(picture)


@pytest.fixture
def page(
    redis_url: str,
    rules_file: Path,
    run_daemon: RunDaemon,
    redis_now: "redis.Redis",
    allow_keys: AllowKeys,
) -> str:
    """Yield the address of a daemon that has seen some events."""
    allow_keys("invalidator:dead")
    rules_file.write_text(RULES)
    daemon = run_daemon(REDIS_URL=redis_url, PUBSUB__CHANNELS="orders").await_ready()
    redis_now.set("order:single:o1", "stale")
    for message in (order(1), event(HOSTILE, id=1), event("order.updated"), HOSTILE.encode()):
        redis_now.publish("orders", message)
    return daemon.admin_url()


async def test_it_shows_what_flows_and_explains_events(page: str) -> None:
    async with browser(page) as tab:
        await shows(tab, "ready", "pubsub", "order:single:{orderId}", "missing-field", "not-json")
        await shows(tab, "data.sure == true", "an <b>order</b> <script>document.title='broken'")
        assert await tab.ask(UNLABELLED) == []

        await tab.ask("document.getElementById('explain-box').open = true")
        await tab.ask("document.getElementById('event').focus()")
        await tab.send("Input.insertText", text=order(HOSTILE).decode())
        await tab.press("Enter", ENTER, CONTROL)
        await shows(tab, "order.updated would invalidate 1 name", f"order:single:o{HOSTILE}")
        await tab.ask("document.getElementById('event').value = 'no json'")
        await tab.ask("document.getElementById('event').focus()")
        for _ in range(2):
            await tab.press("Tab", TAB)  # past the field for the topic, to the button
        assert await tab.ask("document.activeElement.textContent") == "Explain"
        await tab.press("Enter", ENTER, text="\r")
        await shows(tab, "The event cannot be read")
        await tab.ask("document.getElementById('example').click()")
        await tab.ask("document.getElementById('explain').requestSubmit()")
        await shows(tab, "order:single:1")

        assert (
            await tab.ask("document.querySelectorAll('img[src=x], b, #rules script').length") == 0
        )
        assert await tab.ask("document.title") == "ready - invalidator"
        for scheme in ("light", "dark"):
            for width, height in ((1280, 1400), (360, 3600)):
                await tab.look(width, height, scheme)
                told = f"{scheme}, {width} wide"
                assert await tab.ask(FAINT) == [], told
                assert await tab.ask("document.documentElement.scrollWidth") <= width, told
                keep(f"page-{scheme}-{width}.png", await tab.picture())
        assert tab.complaints == []


async def test_it_draws_the_last_minutes_and_gives_figures(page: str) -> None:
    async with browser(page) as tab:
        await until(partial(tab.ask, "document.querySelectorAll('.plot polyline').length >= 5"))
        assert await tab.ask("document.querySelectorAll('#plot-flow polygon').length") == 3
        await tab.ask("document.querySelector('#plot-flow .drawing').focus()")
        await tab.press("ArrowLeft", LEFT)
        shown = "document.querySelector('#plot-flow .readout').innerText"
        assert re.match(r"\d\d:\d\d:\d\d", await tab.ask(shown)), "the time that is looked at"
        await tab.ask("document.querySelector('#spans button[value=day]').click()")
        await shows(tab, "a day ago")
        assert tab.complaints == []


async def test_it_streams_what_is_applied(page: str, redis_now: "redis.Redis") -> None:
    async with browser(page) as tab:
        await tab.ask("document.getElementById('tail-box').open = true")
        await until(partial(tab.ask, "stream !== null && stream.readyState === 1"))

        async def told() -> bool:
            redis_now.publish("orders", order(2))
            return bool(await tab.ask("document.getElementById('tail').innerText.includes('o2')"))

        await until(told, what="the name is shown")
        await tab.ask("document.getElementById('tail-box').open = false")
        await until(partial(tab.ask, "stream === null"))
        assert tab.complaints == []


async def test_it_alarms(run_daemon: RunDaemon, start_redis: StartRedis) -> None:
    """Redis is down, a person has paused, and then the daemon is gone."""
    server = start_redis()
    daemon = run_daemon(
        REDIS_URL=server.url, PUBSUB__CHANNELS="orders", ADMIN__TOKEN="0123456789abcdef"
    ).await_ready()
    async with browser(daemon.admin_url()) as tab:
        await shows(tab, "ready")
        server.freeze()
        await shows(tab, "Waiting for")
        needs = "['redis', 'dead letters', 'pubsub'].every((part) => notice.includes(part))"
        one = f"((notice) => {needs})(document.querySelector('#notices .bad').innerText)"
        await until(partial(tab.ask, one), what="one notice for all that Redis is needed for")
        assert await tab.ask("document.querySelectorAll('#notices li').length") == 1
        keep("page-redis-down.png", await tab.picture())
        server.thaw()
        await until(partial(tab.ask, "document.getElementById('notices').hidden"))
        call(daemon.admin_url(), "pause")
        await shows(tab, "Paused by a person")
        assert await tab.ask("document.querySelector('#sources .word').textContent") == "paused"
        assert daemon.stop() == 0
        await shows(tab, "no answer for")
        assert await tab.ask("document.body.classList.contains('gone')")
        keep("page-gone.png", await tab.picture())


async def test_a_paused_topic_is_not_green(
    run_daemon: RunDaemon, start_redis: StartRedis, rules_file: Path
) -> None:
    server = start_redis()
    daemon = run_daemon(REDIS_URL=server.url, STREAMS__KEYS="orders", STREAMS__START="earliest")
    with looking(server.url) as now:
        for _ in range(300):
            now.xadd("orders", {"event": event("order.updated", none=1)})
    async with browser(daemon.admin_url()) as tab:
        await shows(tab, "stream topic orders is paused: rules", "order-changed")
        assert await tab.ask("document.querySelector('#sources .word').className") == "word bad"


def call(url: str, what: str) -> None:
    headers = {"Authorization": "Bearer 0123456789abcdef"}
    request = urllib.request.Request(f"{url}/{what}", b"", headers)
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "envelope", ["{type: kind, data: body.order}", '{type: "{entity}.{action}", data: "payload"}']
)
async def test_its_example_has_the_form_that_the_rules_read(
    run_daemon: RunDaemon, start_redis: StartRedis, rules_file: Path, envelope: str
) -> None:
    write(rules_file, f"envelope: {envelope}\n{RULES}")
    daemon = run_daemon(REDIS_URL=start_redis().url, PUBSUB__CHANNELS="orders").await_ready()
    async with browser(daemon.admin_url()) as tab:
        await shows(tab, "ready", "order:single:{orderId}")
        await tab.ask("document.getElementById('explain-box').open = true")
        await tab.ask("document.getElementById('example').click()")
        await tab.ask("document.getElementById('explain').requestSubmit()")
        await shows(tab, "order:single:1")
        assert tab.complaints == []


def write(file: Path, text: str) -> None:
    file.write_text(text)
