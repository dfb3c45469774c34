"""One server of a cache at the edge: names gather while others are sent, each of them once."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from msgspec import Struct, field

from invalidator.errors import Unavailable
from invalidator.model import Names
from invalidator.runtime import metrics
from invalidator.runtime.health import Part
from invalidator.runtime.retry import until_available
from invalidator.runtime.tasks import all_of, end
from invalidator.targets.edge.bucket import Bucket, retry_after
from invalidator.targets.edge.client import CONNECTIONS, Client, Response
from invalidator.targets.edge.service import Name, Purge, Service, alone

SLOW_DOWN: Final = (429, 503)  # answers whose Retry-After is obeyed

Refused = dict[Name, str]  # names that it will never take, and why


class Turn(Struct):
    """Names that are sent together."""

    names: Names = field(default_factory=Names)
    sent: "asyncio.Task[Refused] | None" = None


class Lane:
    """Sends names to one server, for as long as it takes."""

    def __init__(
        self,
        cache: str,
        client: Client,
        service: Service,
        part: Part,
        bucket: Bucket,
        *,
        progress: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`part` is whether the server takes names; `progress` is called with each request."""
        self.part = part
        self.server = client.name
        self._cache = cache
        self._client = client
        self._service = service
        self._bucket = bucket
        self._progress = progress
        self._now = now
        self._gathering, self._leaving = Turn(), Turn()
        self._tasks: set[asyncio.Task[Refused]] = set()
        self._sending = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Return whether names are waiting or being sent."""
        return bool(self._tasks)

    @property
    def waiting(self) -> int:
        """Return how many names wait, or are being sent."""
        return self._gathering.names.count() + self._leaving.names.count()

    async def forget(self, names: Names) -> Refused:
        """Send names, together with all that gather until the last ones are sent: what is on its
        way does not count, as a page may have been rendered since. Return what it never takes."""
        turn = self._gathering
        turn.names.update(names)
        if turn.sent is None:
            turn.sent = asyncio.create_task(self._send(turn), name="edge")
            self._tasks.add(turn.sent)
            turn.sent.add_done_callback(self._tasks.discard)
        return await asyncio.shield(turn.sent)

    async def probe(self) -> None:
        """Find out whether the server is there, unless names are being sent to it."""
        if not self.busy:
            try:
                await self._client.probe()
            except Unavailable as error:
                self.part.not_ready(str(error), "probe")
            else:
                self.part.ready("probe")

    async def close(self) -> None:
        """Give up what is left, and close all connections."""
        await end(*self._tasks)
        self.rest()

    def rest(self) -> None:
        """Close the connections that are idle."""
        self._client.close()

    async def _send(self, turn: Turn) -> Refused:
        async with self._sending:
            self._gathering, self._leaving = Turn(), turn
            refused: Refused = {}
            purges = self._service.purges(turn.names)
            await all_of(self._work(purges, refused) for _ in range(CONNECTIONS))
            self._leaving = Turn()
            return refused

    async def _work(self, purges: Iterator[Purge], refused: Refused) -> None:
        for purge in purges:
            said = await self._insist(purge)
            if said and len(purge.names) > 1:
                for name in purge.names:  # one of them may be to blame
                    for single in self._service.purges(alone(name)):
                        if said := await self._insist(single):
                            refused[name] = said
            elif said:
                refused[purge.names[0]] = said

    async def _insist(self, purge: Purge) -> str:
        """Send a request until it is answered for good; return why its names are refused."""
        said = await until_available(partial(self._attempt, purge), self.part, who="purge")
        self._progress()
        return said

    async def _attempt(self, purge: Purge) -> str:
        await self._bucket.take()
        try:
            response = await self._client.send(self._service.sealed(purge.request))
        except Unavailable as error:
            metrics.EDGE_REQUESTS.labels(self._cache, error.code).inc()
            raise
        metrics.EDGE_REQUESTS.labels(self._cache, str(response.status)).inc()
        if response.status in SLOW_DOWN:
            self._slow_down(response)
        return self._service.refused(self._client.name, response)

    def _slow_down(self, response: Response) -> None:
        if wanted := response.headers.get("retry-after"):
            self._bucket.close(retry_after(wanted, self._now()))
        elif reset := response.headers.get("fastly-ratelimit-reset"):  # Unix time
            self._bucket.close(max(0.0, float(reset) - self._now()) if reset.isdecimal() else 0.0)
