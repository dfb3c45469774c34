"""Checks a sample of what was applied, some time after: it is one task beside the pipelines."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from invalidator.errors import Unavailable
from invalidator.freshness.compare import differs_from_truth, older_than_event
from invalidator.freshness.findings import WENT_BACK, Finding, Findings, cause_of
from invalidator.freshness.reading import Found, Home, counter, keys_of, read
from invalidator.freshness.sampling import Check, Name, Sampled, Sampler
from invalidator.freshness.stored import Stored, Unreadable
from invalidator.freshness.tally import Tally
from invalidator.freshness.truth import Truth, values_of
from invalidator.model import KINDS, Kind, Names, Rejection
from invalidator.pipeline.work import Applied, Work
from invalidator.rules.rule import Cache
from invalidator.runtime.logs import Repeats
from invalidator.runtime.tasks import all_of

log = structlog.get_logger("invalidator")

MOST_WAITING: Final = 50_000  # names; further ones are not sampled
TOGETHER: Final = 200  # checks at a time
CONFIRM_AFTER: Final = 1.0  # seconds until a difference from the truth is looked at again
CONFIRMATIONS: Final = 2  # differences in a row that make a finding

FRESH: Final = "fresh"
STALE: Final = "stale"


class Homes(Protocol):
    """The caches' servers."""

    def home(self, cache: str, caches: Mapping[str, Cache]) -> Home: ...


class Freshness:
    """Takes samples from the pipelines, and checks them when they are due."""

    def __init__(
        self,
        homes: Homes,
        sampler: Sampler,
        truth: Truth,
        delays: Sequence[float],
        findings: int,
        *,
        identity: Callable[[], str] = lambda: "",
        busy: Callable[[], str] = lambda: "",
        now: Callable[[], float] = time.time,
    ) -> None:
        """`identity` is of all caches' servers. `busy` says why a change of the truth may still be
        on its way: `paused` or `in-flight`; empty if all that was published is applied."""
        self.findings = Findings(findings)
        self.tally = Tally(delays)
        self._homes = homes
        self._sampler = sampler
        self._truth = truth
        self._delays = delays
        self._identity = identity
        self._busy = busy
        self._now = now
        self._waiting: dict[tuple[str, Kind], dict[str, Check]] = {}
        self._unsettled: dict[object, list[Check]] = {}  # by what was seen of their batch
        self._due: list[tuple[float, int, Check]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._repeats = Repeats(time.monotonic)

    @property
    def waiting(self) -> int:
        """Return how many names are still to be checked."""
        return sum(map(len, self._waiting.values()))

    # --- what the pipelines report ----------------------------------------------------------

    def applied(self, work: Work, now: float) -> None:
        """Take a sample of a batch; what it names again is checked against its newer events."""
        renamed = self._supersede(work.plan.caches)
        if renamed:
            self._add(self._sampler.newest(work, renamed, now), work)
        if self.waiting < MOST_WAITING:
            self._add(self._sampler.take(work, now), work)

    def settled(self, applied: Applied, rejections: Sequence[Rejection], now: float) -> None:
        """Begin to check patterns, which are swept now; forget what became a dead letter."""
        checks = self._unsettled.pop(applied.seen, ())
        dead = {(r.record.origin, r.record.position) for r in rejections if r.record.position}
        for check in checks:
            if (check.trace.origin, check.trace.position) in dead:
                self._end(check, "dead-letter")
            elif check.name[1] == "patterns" and not check.over:
                check.began = now
                self._schedule(check, now + self._delays[0])

    def _supersede(self, caches: Mapping[str, Names]) -> list[Name]:
        """End the checks of names that a later event names; return these names."""
        found: list[Name] = []
        for cache, names in caches.items() if self._waiting else ():
            for kind in KINDS:
                if known := self._waiting.get((cache, kind)):
                    again = known.keys() & getattr(names, kind)
                    found += [(cache, kind, name) for name in again]
        for cache, kind, name in found:
            self._end(self._waiting[cache, kind][name], "superseded")
        return found

    def _add(self, samples: Iterable[Sampled], work: Work) -> None:
        for sampled in samples:
            for rule in sampled.rejected:
                self.tally.count_all(rule, "dead-letter")
            for rule in sampled.unreadable:
                self.tally.count_all(rule, "unreadable")
            for check in sampled.checks:
                self._begin(check, work)

    def _begin(self, check: Check, work: Work) -> None:
        cache, kind, name = check.name
        known = self._waiting.setdefault((cache, kind), {})
        if name in known:
            return  # by a newer event of the same batch
        known[name] = check
        check.identity = self._identity()
        self._unsettled.setdefault(work.seen, []).append(check)
        if kind == "versions":
            self._schedule(check, check.began)
        elif kind != "patterns":
            self._schedule(check, check.began + self._delays[0])

    def _end(self, check: Check, outcome: str) -> None:
        """Count the checks that are left of a name with an outcome; no further one is made."""
        check.over = True
        cache, kind, name = check.name
        if self._waiting.get((cache, kind), {}).get(name) is check:
            del self._waiting[cache, kind][name]
        if outcome:
            for delay in self._delays[check.step :]:
                self.tally.count(check.rule.name, delay, outcome)

    def _schedule(self, check: Check, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._order), check))
        if self._due[0][2] is check:
            self._wake.set()

    # --- checking ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Make the checks that are due, until cancelled."""
        while True:
            self._wake.clear()
            if await self.check_due():
                continue
            wait = self._due[0][0] - self._now() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def check_due(self) -> int:
        """Make some of the checks that are due; return how many."""
        due = self._take_due()
        await self._check_all(due)
        return len(due)

    def _take_due(self) -> list[Check]:
        found: list[Check] = []
        while self._due and self._due[0][0] <= self._now() and len(found) < TOGETHER:
            check = heapq.heappop(self._due)[2]
            if not check.over:
                found.append(check)
        return found

    async def _check_all(self, due: Sequence[Check]) -> None:
        """Make these checks: keys of one Redis are read together."""
        keys: dict[Home, list[Check]] = {}
        others: list[Check] = []
        for check in due:
            if check.name[1] == "keys":
                keys.setdefault(self._home(check), []).append(check)
            else:
                others.append(check)
        await all_of(
            [
                *(self._check_keys(home, checks) for home, checks in keys.items()),
                *(self._concluded(check, self._look_at(check)) for check in others),
            ]
        )

    async def _check_keys(self, home: Home, checks: Sequence[Check]) -> None:
        keys = [check.name[2].encode() for check in checks]
        try:
            entries = await read(home, keys)
        except Unavailable as error:
            for check in checks:
                self._unavailable(check, error)
            return
        slow: list[Awaitable[None]] = []
        for check, key, entry in zip(checks, keys, entries, strict=True):
            if entry is None:  # by far the most common case, so no task is made for it
                if not check.over:
                    self._count(check, FRESH)
            else:
                slow.append(self._concluded(check, self._judge(check, [(key, entry)])))
        await all_of(slow)

    async def _concluded(self, check: Check, judging: Awaitable[str]) -> None:
        """Count the outcome of a check unless it has to be repeated."""
        try:
            outcome = await judging
        except Unavailable as error:
            self._unavailable(check, error)
            return
        except Unreadable:
            outcome = "unreadable"
        if outcome and not check.over:
            self._count(check, outcome)

    async def _look_at(self, check: Check) -> str:
        """Return the outcome for a tag, a pattern or a version."""
        home, (_, kind, name) = self._home(check), check.name
        if kind == "versions":
            return await self._version(check, home)
        if kind == "tags" and all(kept.kind == "stamp" for kept in check.cache.layouts):
            raise Unreadable  # nothing lists the entries that carry it
        keys = await keys_of(home, check.cache, kind, name)
        return await self._judge(check, list(zip(keys, await read(home, keys), strict=True)))

    def _home(self, check: Check) -> Home:
        return self._homes.home(check.name[0], check.caches)

    def _unavailable(self, check: Check, error: Unavailable) -> None:
        self._warn(check, "freshness-unavailable", reason=str(error))
        if not check.over:
            self._count(check, "unavailable")

    def _count(self, check: Check, outcome: str) -> None:
        """Count a check, and go on to the next delay."""
        self.tally.count(check.rule.name, self._delays[check.step], outcome)
        check.fresh_before = outcome == FRESH
        check.suspected = 0
        check.step += 1
        if check.step == len(self._delays):
            self._end(check, "")
        else:
            self._schedule(check, check.began + self._delays[check.step])

    async def _judge(self, check: Check, entries: Sequence[tuple[bytes, Found]]) -> str:
        """Return the outcome of a check; empty if it has to be repeated. Raises Unreadable."""
        unreadable = False
        for key, found in entries:
            if found is None:
                continue
            if isinstance(found, Unreadable):
                unreadable = True
                continue
            try:
                if not await self._is_stale(check, key, found):
                    continue
            except Unreadable:
                unreadable = True
                continue
            if check.verify.event or check.suspected + 1 == CONFIRMATIONS:
                return self._stale(check, key, found)
            return self._again(check)
        if unreadable:
            raise Unreadable
        return FRESH

    async def _is_stale(self, check: Check, key: bytes, found: Stored) -> bool:
        if check.verify.event:
            return older_than_event(check.verify, found, check.expected)
        values = values_of(check.rule, check.cache.prefix, key.decode())
        if values is None:
            raise Unreadable
        return differs_from_truth(check.verify, found, await self._truth.ask(check.verify, values))

    def _again(self, check: Check) -> str:
        """Look again: the event of a newer change may be on its way. Return the outcome if it
        cannot arrive now."""
        if reason := self._busy():
            return reason
        check.suspected += 1
        self._schedule(check, self._now() + CONFIRM_AFTER)
        return ""

    async def _version(self, check: Check, home: Home) -> str:
        count = await counter(home, check.cache, check.name[2])
        if check.baseline is None:
            check.baseline = count or 0
            self._schedule(check, check.began + self._delays[0])
            return ""
        if (count or 0) >= (check.baseline or 0):
            return FRESH
        self._add_finding(check, check.name[2], WENT_BACK, Stored(str(count or 0).encode(), -1))
        return STALE

    def _stale(self, check: Check, key: bytes, found: Stored) -> str:
        if not check.verify.event and (reason := self._busy()):
            return reason
        changed = self._identity() != check.identity
        why = cause_of(found, identity_changed=changed, fresh_before=check.fresh_before)
        self._add_finding(check, key.decode(errors="replace"), why, found)
        return STALE

    def _add_finding(self, check: Check, key: str, why: str, found: Stored) -> None:
        cache, kind, name = check.name
        delay = self._delays[check.step]
        self.findings.add(
            Finding(
                self._now(),
                check.rule.name,
                cache,
                kind,
                check.shown,
                check.shown if key == name or check.shown != name else key,
                delay,
                why,
                check.trace,
                found.digest,
                found.ttl_ms / 1000 if found.ttl_ms >= 0 else None,
                self._now() - check.began,
                found.id,
            )
        )
        self._warn(check, "stale-entry", why=why, delay=delay, position=check.trace.position)

    def _warn(self, check: Check, event: str, **fields: object) -> None:
        """Log it now and then: neither names nor values."""
        skipped = self._repeats.admit((event, check.rule.name))
        if skipped is not None:
            log.warning(event, rule=check.rule.name, suppressed=skipped, **fields)
