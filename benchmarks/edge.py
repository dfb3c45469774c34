"""Tags purged at a Varnish by the daemon's lane and by plain clients, each in its turn.

python -m benchmarks.edge [--quick]
"""

import asyncio
import http.client
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median

from benchmarks.options import sizes
from invalidator.model import Names
from invalidator.rules.rule import Cache
from invalidator.runtime.health import Health
from invalidator.settings import load
from invalidator.targets.build import store_of
from tests.backends.origin import Origin
from tests.backends.varnish import Varnish

THREADS = 8  # as many as the daemon has connections
Purge = Callable[[Varnish, Sequence[str]], None]


def daemon(varnish: Varnish, tags: Sequence[str]) -> None:
    asyncio.run(_forget(varnish, tags))


async def _forget(varnish: Varnish, tags: Sequence[str]) -> None:
    store = store_of(load(edge__urls__pages=varnish.url), Health())
    edge = store.edge(Cache("pages", target="varnish"))
    assert edge
    try:
        assert await edge.forget(Names(tags={*tags})) == []
    finally:
        await store.close()


def plain(varnish: Varnish, tags: Sequence[str]) -> None:
    """One PURGE for each tag, on one connection that is kept."""
    with closing(http.client.HTTPConnection("127.0.0.1", varnish.port, timeout=60)) as link:
        for tag in tags:
            link.request("PURGE", "/", headers={"xkey-purge": tag})
            response = link.getresponse()
            response.read()
            assert response.status == 200


def threads(varnish: Varnish, tags: Sequence[str]) -> None:
    """The same in several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        parts = (tags[at::THREADS] for at in range(THREADS))
        [*pool.map(lambda part: plain(varnish, part), parts)]


CLIENTS: dict[str, Purge] = {
    "the daemon's lane": daemon,
    "http.client, a request for each tag": plain,
    f"the same in {THREADS} threads": threads,
}


def rounds(varnish: Varnish, origin: Origin, tags: int, times: int) -> Iterator[dict[str, float]]:
    """Yield tags per second, by client. A tenth of the tags has a page, fetched anew each time."""
    names = [f"product:{number}" for number in range(tags)]
    origin.tags |= {f"/{number}": names[number] for number in range(0, tags, 10)}
    for _ in range(times):
        speeds = {}
        for client, purge in CLIENTS.items():
            _fetch(varnish, origin)
            began = time.perf_counter()
            purge(varnish, names)
            speeds[client] = tags / (time.perf_counter() - began)
        yield speeds


def _fetch(varnish: Varnish, origin: Origin) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", varnish.port, timeout=60)) as link:
        for path in origin.tags:
            link.request("GET", path)
            link.getresponse().read()


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, tags=(5_000, 200), rounds=(5, 1))
    with Origin() as origin, Varnish(origin.port) as varnish:
        found = [*rounds(varnish, origin, asked.tags, asked.rounds)]
    for client in CLIENTS:
        speeds = [speeds[client] for speeds in found]
        ratios = [speeds[client] / speeds["the daemon's lane"] for speeds in found]
        print(f"{client:36} {median(speeds):9,.0f} tags/s  {median(ratios):.2f}")


if __name__ == "__main__":
    main()
