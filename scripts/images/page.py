"""Photograph docs/images/page.png: the page of a daemon that has been at work for some minutes.

python -m scripts.images.page (needs redis-server and chromium; `.venv` is that of the tests)
"""

import asyncio
import base64
import json
import os
import random
import threading
import time
from pathlib import Path

import redis

from tests.backends.browser import browser
from tests.backends.choose import redis_backend
from tests.e2e.process import DaemonProcess

TOP = Path(__file__).parents[2]
PICTURE = TOP / "docs" / "images" / "page.png"
MINUTES = 6.0
WIDTH, HEIGHT = 1100, 820


def event(dice: random.Random) -> dict[str, object]:
    """Return what a shop might publish; a few events lack a field."""
    order = {"orderId": f"ord_{dice.randrange(5000)}", "customerId": f"c{dice.randrange(500)}"}
    user = {"userId": dice.randrange(500)}
    product = {
        "product": {"id": dice.randrange(300), "category": dice.choice(["hats", "shoes"])},
        "price": dice.randrange(5, 50),
        "oldPrice": 20,
    }
    if dice.random() < 0.002:
        del order["orderId"]
    kind, data = dice.choices(
        [("order.updated", order), ("user.updated", user), ("product.updated", product),
         ("basket.viewed", user)],
        weights=[10, 3, 4, 2],
    )[0]  # fmt: skip
    return {"type": kind, "data": data}


def work(url: str, over: threading.Event) -> None:
    """Fill the cache and publish events, sometimes more and sometimes fewer."""
    dice = random.Random(19)  # noqa: S311 - nobody has to guess it
    began = time.monotonic()
    with redis.Redis.from_url(url) as bus:
        while not over.wait(0.2):
            busy = 3 < (time.monotonic() - began) / 60 < 4
            for _ in range(dice.randrange(5, 12) + (20 if busy else 0)):
                sent = event(dice)
                data = sent["data"]
                if isinstance(data, dict) and "orderId" in data:
                    bus.set(f"order:single:{data['orderId']}", "cached", ex=60)
                bus.publish("events", json.dumps(sent))


async def photograph(url: str) -> bytes:
    async with browser(url) as tab:
        await tab.look(WIDTH, HEIGHT, "light")
        await tab.send("Emulation.setScrollbarsHidden", hidden=True)
        await asyncio.sleep(3)
        shot = await tab.send(
            "Page.captureScreenshot",
            clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1},
        )
    return base64.b64decode(shot["data"])


def main() -> None:
    os.chdir(TOP)  # the page shows the path of the rules
    with redis_backend() as url:
        settings = {"REDIS_URL": url, "RULES": "rules.yaml", "PUBSUB__CHANNELS": "events"}
        daemon = DaemonProcess(settings).await_ready()
        over = threading.Event()
        worker = threading.Thread(target=work, args=(url, over))
        worker.start()
        try:
            time.sleep(MINUTES * 60)
            PICTURE.write_bytes(asyncio.run(photograph(daemon.admin_url())))
        finally:
            over.set()
            worker.join()
            daemon.stop()
            daemon.close()


if __name__ == "__main__":
    main()
