"""Compares keys, or all keys of some rules, with the source of truth: now, for a person."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from invalidator.errors import Unavailable
from invalidator.freshness.compare import differs_from_truth
from invalidator.freshness.nines import sentence
from invalidator.freshness.reading import Found, Home, read
from invalidator.freshness.stored import Stored, Unreadable
from invalidator.freshness.truth import Truth, captured
from invalidator.rules import RuleSet
from invalidator.rules.explain.reach import reaching
from invalidator.rules.rule import Cache, Rule
from invalidator.runtime.tasks import all_of
from invalidator.targets.redis.glob import escape
from invalidator.templates import Template

TOGETHER: Final = 100  # keys that are read at a time
CONFIRM_AFTER: Final = 1.0  # seconds until a difference is looked at again
MOST_SHOWN: Final = 1000  # stale keys in a report

NO_LEASE: Final = (
    "the entry has no lease: a slow reader or a second writer can store old data after the "
    "deletion (docs/read-side.md)"
)
LEASED: Final = (
    "invalidator.cache wrote it: the change published no event, or the loader read old data, such "
    "as from a lagging replica"
)
UNNAMED: Final = "no rule names this key: only its TTL ends it"
UNVERIFIED: Final = "no chosen rule with verify: url: or verify: sql: has a template of this key"


class StaleKey(Struct, frozen=True):
    """An entry that differs from the truth."""

    key: str
    rule: str
    digest: str  # of the value
    ttl: float | None  # seconds
    entry: str  # the id of an entry of invalidator.cache; otherwise empty
    why: str


class Report(Struct):
    """Reports what was compared, for a review."""

    rules: str  # their hash
    began: float  # Unix time
    seconds: float = 0.0
    keys: int = 0  # that were looked at
    fresh: int = 0
    absent: int = 0  # of these, nothing was cached
    stale: int = 0
    unreadable: int = 0
    unavailable: int = 0
    says: str = ""
    findings: list[StaleKey] = field(default_factory=list)  # the first thousand
    not_compared: dict[str, str] = field(default_factory=dict)  # keys that were asked for, and why


class Subject(Struct, frozen=True):
    """A key and the rule that names it."""

    key: bytes
    rule: Rule
    home: Home
    values: Mapping[str, str]


Observe = Callable[[int], None]  # keys that were looked at


class Comparison:
    """Compares keys of verified rules with their sources of truth, at a pace."""

    def __init__(
        self,
        rules: RuleSet,
        home: Callable[[str, Mapping[str, Cache]], Home],
        truth: Truth,
        *,
        per_second: float,
        only: Sequence[str] = (),
        observe: Observe = lambda looked: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._home = home
        self._truth = truth
        self._per_second = per_second
        self._observe = observe
        self._sleep = sleep
        self._clock = clock
        self._chosen = [
            rule
            for rule in rules.rules
            if rule.name in rules.verified
            and not rules.verified[rule.name].event
            and (not only or rule.name in only)
        ]
        self.report = Report(rules.hash, time.time())

    @property
    def has_rules(self) -> bool:
        return bool(self._chosen)

    async def compare_keys(self, keys: Sequence[str]) -> Report:
        """Compare these keys. Raises Unavailable."""
        found = []
        for key in keys:
            if subject := self._subject(key.encode()):
                found.append(subject)
            else:
                reached = reaching(self._rules, key)
                self.report.not_compared[key] = UNVERIFIED if reached else UNNAMED
        return await self._finish(found)

    async def compare_families(self) -> Report:
        """Walk over all keys that the chosen rules could name. Raises Unavailable."""
        waiting: list[Subject] = []
        async for subject in self._all():
            waiting.append(subject)
            if len(waiting) == TOGETHER:
                await self._compare(waiting)
                waiting = []
        return await self._finish(waiting)

    async def _finish(self, waiting: Sequence[Subject]) -> Report:
        for at in range(0, len(waiting), TOGETHER):
            await self._compare(waiting[at : at + TOGETHER])
        report = self.report
        report.seconds = time.time() - report.began
        report.says = sentence(report.stale, report.fresh + report.stale)
        return report

    def _subject(self, key: bytes) -> Subject | None:
        for rule in self._chosen:
            for template in _templates(rule):
                if subject := self._of(rule, template, key):
                    return subject
        return None

    def _of(self, rule: Rule, template: Template, key: bytes) -> Subject | None:
        prefix = self._rules.caches[rule.cache].prefix
        values = captured(template, prefix, key.decode(errors="replace"))
        if values is None:
            return None
        return Subject(key, rule, self._home(rule.cache, self._rules.caches), values)

    async def _all(self) -> AsyncIterator[Subject]:
        seen: set[bytes] = set()  # SCAN may return a key twice
        for rule in self._chosen:
            prefix = self._rules.caches[rule.cache].prefix
            home = self._home(rule.cache, self._rules.caches)
            for template in _templates(rule):
                async for keys in home.pages(_glob(template, prefix)):
                    for key in keys:
                        subject = self._of(rule, template, key)
                        if subject and key not in seen:
                            seen.add(key)
                            yield subject

    async def _compare(self, subjects: Sequence[Subject]) -> None:
        """Compare some keys. What differs is looked at once more: its event may be on its way."""
        began = self._clock()
        suspects = await self._differing(subjects, final=False)
        if suspects:
            await self._sleep(CONFIRM_AFTER)
            await self._differing(suspects, final=True)
        self.report.keys += len(subjects)
        self._observe(self.report.keys)
        await self._sleep(max(0.0, len(subjects) / self._per_second - (self._clock() - began)))

    async def _differing(self, subjects: Sequence[Subject], *, final: bool) -> list[Subject]:
        homes: dict[Home, list[Subject]] = {}
        for subject in subjects:
            homes.setdefault(subject.home, []).append(subject)
        suspects: list[Subject] = []
        for home, some in homes.items():
            entries = await read(home, [subject.key for subject in some])
            pairs = zip(some, entries, strict=True)
            judged = await all_of(self._judge(subject, found) for subject, found in pairs)
            for subject, found, outcome in zip(some, entries, judged, strict=True):
                if outcome == "stale" and not final:
                    suspects.append(subject)
                else:
                    self._count(subject, found, outcome)
        return suspects

    async def _judge(self, subject: Subject, found: Found) -> str:
        if found is None:
            return "absent"
        verify = self._rules.verified[subject.rule.name]
        try:
            if isinstance(found, Unreadable):
                raise found
            differs = differs_from_truth(
                verify, found, await self._truth.ask(verify, subject.values)
            )
        except Unreadable:
            return "unreadable"
        except Unavailable:
            return "unavailable"
        return "stale" if differs else "fresh"

    def _count(self, subject: Subject, found: Found, outcome: str) -> None:
        report = self.report
        report.fresh += outcome in ("fresh", "absent")
        report.absent += outcome == "absent"
        report.unreadable += outcome == "unreadable"
        report.unavailable += outcome == "unavailable"
        if outcome == "stale" and isinstance(found, Stored):
            report.stale += 1
            if len(report.findings) < MOST_SHOWN:
                report.findings.append(_stale_key(subject, found))


def _stale_key(subject: Subject, found: Stored) -> StaleKey:
    return StaleKey(
        subject.key.decode(errors="replace"),
        subject.rule.name,
        found.digest,
        found.ttl_ms / 1000 if found.ttl_ms >= 0 else None,
        found.id,
        LEASED if found.is_entry else NO_LEASE,
    )


def _templates(rule: Rule) -> list[Template]:
    return [effect.template for effect in rule.effects if effect.kind == "keys"]


def _glob(template: Template, prefix: str) -> str:
    texts = (part if isinstance(part, str) else None for part in template.parts)
    glob = "".join("*" if text is None else escape(text.encode()).decode() for text in texts)
    return escape(prefix.encode()).decode() + glob
