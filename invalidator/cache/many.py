"""Many entries at once: one read, one load of what is missing, a lease for each."""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from invalidator.cache.codecs import Undecodable, value_of, value_start
from invalidator.cache.entry import (
    BUSY,
    EXPIRED,
    HIT,
    MISS,
    Names,
    fresh_until,
    id_of,
    judge,
    new_token,
)
from invalidator.cache.errors import CacheUnavailable, NotFound
from invalidator.cache.filling import RECORD, framed, lease_ms, prolongs, takes
from invalidator.cache.loading import Loaded
from invalidator.cache.process import Process, Spec
from invalidator.cache.requests import CallMany, Get, Send, Steps
from invalidator.cache.scripts import DONE, GRANTED, LEASE, PUT, RELEASE, Command
from invalidator.cache.seen import tell


class Results(Struct, frozen=True):
    values: dict[str, Any]
    left: list[str]  # others load them, or their loads named tags: each is read by itself


def read_many(wanted: Mapping[str, Names], spec: Spec, here: Process) -> Steps:
    """Return the steps of a read of many entries, by the caller's names for them."""
    return _Many(wanted, spec, here).steps()


class _Kept(Struct, frozen=True):
    """A value that is no longer fresh."""

    value: Any
    usable: bool  # while another reader refreshes it; else only if its load fails


class _Many:
    def __init__(self, wanted: Mapping[str, Names], spec: Spec, here: Process) -> None:
        self.wanted = {name: here.known(names) for name, names in wanted.items()}
        self.spec = spec
        self.here = here
        self.values: dict[str, Any] = {}
        self.kept: dict[str, _Kept] = {}
        self.prolongs: list[Command] = []
        self.tagged: list[str] = []  # their loads named tags, whose stamps must be taken before

    def steps(self) -> Steps:
        keys = list(dict.fromkeys(key for names in self.wanted.values() for key in names.keys))
        try:
            found = dict(zip(keys, (yield Get(keys)), strict=True)) if keys else {}
        except CacheUnavailable:
            return (yield from self._alone(list(self.wanted)))
        missing = [name for name in self.wanted if not self._hit(name, found)]
        self.tagged = [name for name in missing if self._is_tagged(name, found)]
        missing = [name for name in missing if name not in self.tagged]
        granted: dict[str, tuple[bytes, list[bytes]]] = {}
        if missing:
            try:
                granted = yield from self._lease(missing, found)
            except CacheUnavailable:
                return (yield from self._alone([*missing, *self.tagged]))
        if granted:
            yield from self._load(granted)
        left = [name for name in missing if name not in granted and not self._stale(name)]
        return Results(self.values, left + self.tagged)

    def _is_tagged(self, name: str, found: Mapping[str, bytes | None]) -> bool:
        """Return whether the last load of an entry named tags of its own."""
        names = self.wanted[name]
        return bool(names.extra) or names.fitting(found[names.key]) is not names

    def _alone(self, missing: list[str]) -> Steps:
        """Load what is missing in one call, as Redis is unavailable."""
        self.spec.stats.bypassed += 1
        loaded = yield CallMany(missing, alone=True)
        for name in missing:
            value = loaded.get(name)
            self.values[name] = value.value if isinstance(value, Loaded) else value
            self._note(self.wanted[name], 0.0)
        return Results(self.values, [])

    def _hit(self, name: str, found: Mapping[str, bytes | None]) -> bool:
        names = self.wanted[name]
        entry, *stamps = (found[key] for key in names.keys)
        line = names.line(stamps)
        verdict = judge(entry, line, self.here.now(), self.spec.policy)
        if verdict in (BUSY, MISS) or entry is None or line is None:
            return False
        try:
            value = value_of(entry, value_start(line), self.spec.codec)
        except NotFound:
            value = None
        except Undecodable:
            return False
        if verdict != HIT:
            self.kept[name] = _Kept(value, verdict != EXPIRED)
            return False
        self.values[name] = value
        self.spec.stats.hits += 1
        self._note(names, fresh_until(entry))
        return True

    def _note(self, names: Names, until: float) -> None:
        """Tell the request that reads what it may know of an entry's freshness."""
        tell(names, until, self.here, self.spec.policy)

    def _stale(self, name: str) -> bool:
        """Serve a value that another reader refreshes, if it may be served."""
        kept = self.kept.get(name)
        if kept is None or not kept.usable:
            return False
        self.values[name] = kept.value
        self.spec.stats.stale += 1
        self._note(self.wanted[name], 0.0)
        return True

    def _is_bridged(self, names: Collection[str], error: BaseException) -> bool:
        """Return whether old values stand in for those whose load failed; serve them."""
        if not isinstance(error, self.spec.policy.stale_on) or not self.kept.keys() >= {*names}:
            return False
        self.values.update({name: self.kept[name].value for name in names})
        for name in names:
            self._note(self.wanted[name], 0.0)
        self.spec.stats.stale += len(names)
        return True

    def _lease(self, missing: list[str], found: Mapping[str, bytes | None]) -> Steps:
        """Ask for a lease for each, and take all stamps; the answer is what was granted."""
        length, tokens = lease_ms(self.spec.policy, None), [new_token() for _ in missing]
        keys = [self.wanted[name].key for name in missing]
        stamps = list(dict.fromkeys(s for name in missing for s in self.wanted[name].stamps))
        modes = ["refresh" if name in self.kept else "miss" for name in missing]
        leases = [
            LEASE(key, token, length, RECORD * length, id_of(found[key]), mode)
            for key, token, mode in zip(keys, tokens, modes, strict=True)
        ]
        asked = self.here.clock()
        replies = yield Send([*leases, *takes(stamps, self.spec.policy, self.here)])
        self.here.heard(replies[0][1], asked)
        taken = dict(zip(stamps, replies[len(leases) :], strict=True))
        return {
            name: (token, [taken[stamp] for stamp in self.wanted[name].stamps])
            for name, token, reply in zip(missing, tokens, replies, strict=False)
            if reply[0] == GRANTED
        }

    def _load(self, granted: Mapping[str, tuple[bytes, list[bytes]]]) -> Steps:
        stats, began = self.spec.stats, self.here.timer()
        stats.loads += 1
        try:
            loaded = yield CallMany(list(granted))
            took = (self.here.timer() - began) * 1000
            stats.took(took)
            puts = [self._put(name, loaded.get(name), *granted[name], took) for name in granted]
        except GeneratorExit:
            raise
        except BaseException as error:
            stats.failed += 1
            pause = self.spec.policy.cooldown if isinstance(error, Exception) else 0.0
            yield from self._send(
                [
                    RELEASE(self.wanted[name].key, token, int(1000 * pause))
                    for name, (token, _) in granted.items()
                ]
            )
            if self._is_bridged(granted, error):
                return
            raise
        replies = yield from self._send(puts + self.prolongs)
        answers = [reply for put, reply in zip(puts, replies, strict=False) if put[1] == PUT.sha]
        done = sum(reply == DONE for reply in answers)
        stats.puts += done
        stats.refused += len(answers) - done

    def _put(
        self, name: str, value: Any, token: bytes, stamps: list[bytes], took: float
    ) -> Command:
        loaded = value if isinstance(value, Loaded) else Loaded(value)
        self.values[name] = loaded.value
        names = self.wanted[name]
        self._note(names, 0.0)  # whether it was put is not known yet
        if not self.here.stamps(loaded.tags) <= set(names.stamps):
            self.tagged.append(name)
            return RELEASE(names.key, token, 0)
        line = names.line(stamps)
        assert line is not None
        entry, ttl = framed(loaded, None, line, token, self.spec, self.here, took=took)
        if ttl <= 0 or len(entry) > self.spec.policy.max_bytes:
            return RELEASE(names.key, token, 0)
        self.prolongs += prolongs(names, ttl, self.spec.policy, self.here)
        return PUT(names.key, token, entry, int(ttl * 1000))

    def _send(self, commands: list[Command]) -> Steps:
        try:
            return (yield Send(commands))
        except CacheUnavailable:
            return []
