"""Tell the sender of a request what became of it, now or later."""

import asyncio
import secrets
from typing import Any, Final

from invalidator.model import KINDS, Names, Result
from invalidator.runtime.http import Response, as_json

MOST: Final = 10_000  # receipts that are kept
MOST_NAMES: Final = 1_000  # that an answer shows


class Receipt:
    """One request on its way."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(16)  # who knows it may ask
        self.settled = asyncio.Event()
        self._plain: dict[str, Any] = {"receipt": self.id, "status": "pending"}

    def settle(self, result: Result, *, dry_run: bool) -> None:
        """Keep what became of the request. Only the first time counts."""
        if self.settled.is_set():
            return
        self._plain = {"receipt": self.id, "status": "applied", **plain(result)}
        if dry_run:
            self._plain["dry_run"] = True  # nothing was deleted
        self.settled.set()

    def answer(self) -> Response:
        if self.settled.is_set():
            return as_json(self._plain)
        headers = {"Location": f"/receipts/{self.id}", "Retry-After": "1"}
        return as_json(self._plain, 202, headers=headers)


class Receipts:
    """The last receipts. One that is forgotten is unknown: its sender sends again."""

    def __init__(self) -> None:
        self._kept: dict[str, Receipt] = {}

    def new(self) -> Receipt:
        """Return a new receipt; the oldest is forgotten for it where too many are kept."""
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]
        receipt = Receipt()
        self._kept[receipt.id] = receipt
        return receipt

    def find(self, name: str) -> Receipt | None:
        return self._kept.get(name)


def plain(result: Result) -> dict[str, Any]:
    """Return a result as JSON shows it: names by cache and kind, and every rejection."""
    room = MOST_NAMES
    caches: dict[str, Any] = {}
    for cache, names in result.caches.items():
        shown = caches[cache] = {}
        for kind in KINDS:
            if some := sorted(getattr(names, kind))[:room]:
                shown[kind] = some
                room -= len(some)
    every = sum(map(Names.count, result.caches.values()))
    found = {"invalidated": caches, "existed": result.existed}
    if every > MOST_NAMES:
        found["names_omitted"] = every - MOST_NAMES
    if result.rejections:
        found["rejected"] = [
            {"error": fault.error, "message": fault.message, "rule": fault.rule}
            for rejection in result.rejections
            for fault in rejection.faults
        ]
    return found
