"""No schedule of the shipped L1 serves a stale copy; schedules of wrong ones do."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from invalidator.cache import l1
from invalidator.cache.backplane import Follower
from invalidator.cache.l1 import L1
from tests.conftest import StartRedis
from tests.integration.cache.near_schedules import SCENARIOS, NearWorld, stale_copies
from tests.integration.cache.schedules import Scenario

SHORT, LONG = 400, 50_000
SEED = int(os.environ.get("SCHEDULES_SEED", "1"))
ENOUGH = 3_000  # schedules to find a mutant


@pytest.fixture
def client(start_redis: StartRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(start_redis().url) as client:
        yield client


def test_no_schedule_serves_a_stale_copy(client: redis.Redis) -> None:
    before = NearWorld.hits
    assert stale_copies(client, SHORT, SEED) == ""
    assert NearWorld.hits > before


@pytest.mark.slow
def test_no_schedule_of_many_serves_a_stale_copy(client: redis.Redis) -> None:
    assert stale_copies(client, LONG, SEED + 1) == ""


Patch = pytest.MonkeyPatch


def _marks_never_die(patch: Patch) -> None:
    drop = L1._drop

    def wrong(self: L1, name: str) -> None:
        marks = self._marks.pop(name, set())
        drop(self, name)
        if marks:
            self._marks[name] = marks

    patch.setattr(L1, "_drop", wrong)


def _a_lost_link_drops_nothing(patch: Patch) -> None:
    patch.setattr(L1, "end", lambda self: None)


def _a_lost_link_leaves_marks(patch: Patch) -> None:
    def wrong(self: L1) -> None:
        for copy in list(self._copies.values()):
            self._remove(copy)

    patch.setattr(L1, "_empty", wrong)


def _gaps_are_ignored(patch: Patch) -> None:
    patch.setattr(L1, "gap", lambda self: None)


def _kept_although_it_began_while_nothing_was(patch: Patch) -> None:
    def began(self: L1, names: Any) -> Any:
        mark = l1.Mark(names.keys)
        for name in names.keys:
            self._marks.setdefault(name, set()).add(mark)
        return mark

    patch.setattr(L1, "began", began)
    ended = L1.ended

    def wrong(self: L1, mark: Any, *rest: Any) -> None:
        ended(self, mark, *((*rest[:-1], rest[-1] if self.on else None)))

    patch.setattr(L1, "ended", wrong)


def _tags_of_copies_are_ignored(patch: Patch) -> None:
    hear = Follower.drop

    def wrong(self: Follower, kind: str, names: Any) -> None:
        if kind != "tags":
            hear(self, kind, names)

    patch.setattr(Follower, "drop", wrong)


def _announced_before_it_is_deleted(patch: Patch) -> None:
    patch.setattr(NearWorld, "wrong_order", True)


def _own_writes_drop_nothing(patch: Patch) -> None:
    patch.setattr(L1, "drop", lambda self, names: None)


MUTANTS: dict[str, tuple[str, Callable[[Patch], None]]] = {
    "marks never die": ("key", _marks_never_die),
    "a lost link drops nothing": ("key", _a_lost_link_drops_nothing),
    "a lost link leaves marks alive": ("key", _a_lost_link_leaves_marks),
    "missing numbers are ignored": ("key and elsewhere", _gaps_are_ignored),
    "kept although nothing was when it began": ("key", _kept_although_it_began_while_nothing_was),
    "tags are ignored": ("tag", _tags_of_copies_are_ignored),
    "announced before it is deleted": ("key", _announced_before_it_is_deleted),
    "keys drop nothing": ("writing", _own_writes_drop_nothing),
}


def _named(name: str) -> Scenario:
    return next(each for each in SCENARIOS if each.name == name)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_l1_is_caught(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    scenario, mutate = MUTANTS[mutant]
    mutate(monkeypatch)
    assert stale_copies(client, ENOUGH, SEED, [_named(scenario)])
