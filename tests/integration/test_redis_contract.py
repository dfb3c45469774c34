"""docs/redis-contract.md: its names, its dead letter and its readers are those that work."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

import invalidator
from invalidator import layout
from invalidator.deadletters import Redactor, fields_of
from invalidator.model import Fault, Record, Rejection
from tests.backends import until
from tests.integration.piping import AllowKeys, dead_letters, event, looking, piping, rules_from

if TYPE_CHECKING:
    import redis

PAGE = (Path(invalidator.__file__).parent.parent / "docs" / "redis-contract.md").read_text()
READERS: dict[str, Any] = {}
for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
    exec(compile(block, "docs/redis-contract.md", "exec"), READERS)
RULES = """
caches:
  default: {tags: [{layout: LAYOUT, key: "tag:{tag}"}]}
  stamps: {tags: [{layout: stamp}]}
rules:
  - {name: tagged, on: tagged, invalidate: {tags: ["{tag}"]}}
  - {name: stamped, on: stamped, cache: stamps, invalidate: {tags: ["{tag}"]}}
  - {name: versioned, on: versioned, invalidate: {versions: ["{name}"]}}
"""
ORDERS = """
rules:
  - {name: order-changed, on: order.updated, invalidate: {keys: ["order:single:{orderId}"]}}
"""

Read = Callable[["redis.Redis", Callable[[], bytes]], bytes]


def _by_tag_set(now: "redis.Redis", load: Callable[[], bytes]) -> bytes:
    found: bytes = READERS["read_by_tag_set"](now, "k", ["a", "b"], load)
    return found


def _by_sorted_set(now: "redis.Redis", load: Callable[[], bytes]) -> bytes:
    found: bytes = READERS["read_by_sorted_set"](now, "k", ["a", "b"], load, now=1_795_000_000)
    return found


def _by_stamps(now: "redis.Redis", load: Callable[[], bytes]) -> bytes:
    found: str = READERS["read_by_stamps"](now, "k", ["a", "b"], lambda: load().decode())
    return found.encode()


def _by_version(now: "redis.Redis", load: Callable[[], bytes]) -> bytes:
    found: bytes = READERS["read_by_version"](now, "price", 7, load)
    return found


@pytest.mark.parametrize(
    ("read", "kind", "stale", "other"),
    [
        (_by_tag_set, "set", event("tagged", tag="b"), event("tagged", tag="c")),
        (_by_sorted_set, "sorted-set", event("tagged", tag="b"), event("tagged", tag="c")),
        (_by_stamps, "set", event("stamped", tag="b"), event("stamped", tag="c")),
        (_by_version, "set", event("versioned", name="price"), event("versioned", name="stock")),
    ],
    ids=["set", "sorted-set", "stamp", "version"],
)
async def test_a_reader_as_the_contract_shows_it_misses_after_the_event_and_not_before(
    read: Read,
    kind: str,
    stale: bytes,
    other: bytes,
    redis_url: str,
    tmp_path: Path,
    allow_keys: AllowKeys,
) -> None:
    allow_keys("invalidator:stamp:*")
    rules, state = rules_from(RULES.replace("LAYOUT", kind), tmp_path), {"row": b"old"}
    with looking(redis_url) as client:

        def look() -> bytes:
            return read(client, lambda: state["row"])

        assert look() == b"old"
        state["row"] = b"new"
        async with piping(rules, redis_url) as bench:
            bench.source.publish(other)
            await until(lambda: bench.source.settled == 1)
            assert look() == b"old"
            bench.source.publish(stale)
            await until(lambda: bench.source.settled == 2)
            assert look() == b"new"
        state["row"] = b"newest"
        assert look() == b"new"


def test_a_reader_with_a_lease_never_puts_an_old_row_back(redis_now: "redis.Redis") -> None:
    row = b"old"

    def load_while_it_is_invalidated() -> bytes:
        nonlocal row
        loaded, row = row, b"new"
        redis_now.unlink("k")
        return loaded

    def load() -> bytes:
        return row

    read = READERS["read_with_lease"]
    assert read(redis_now, "k", load_while_it_is_invalidated) == b"old"
    assert [read(redis_now, "k", load) for _ in range(2)] == [b"new"] * 2
    assert redis_now.get("k") == b"new"


async def test_an_evicted_version_brings_nothing_back(redis_url: str, tmp_path: Path) -> None:
    rules, row = rules_from(RULES.replace("LAYOUT", "set"), tmp_path), b"old"
    with looking(redis_url) as client:
        assert _by_version(client, lambda: row) == b"old"
        async with piping(rules, redis_url) as bench:
            bench.source.publish(event("versioned", name="price"))
            await until(lambda: bench.source.settled == 1)
        row = b"new"
        client.unlink("cache:version:price")
        assert _by_version(client, lambda: row) == b"new"


def test_every_name_has_its_place_in_the_contract() -> None:
    names = [value for name, value in vars(layout).items() if name.isupper() and ":" in value]
    named = [
        name.replace("{{{group}}}", "{<group>}").replace("{number}", "<number>") for name in names
    ]
    assert [name for name in named if f"`{name}" not in PAGE] == []


def test_the_fields_of_a_dead_letter_are_those_of_the_table_and_of_the_example() -> None:
    record = Record("memory", "o", "1", b"{}", b"key")
    rejection = Rejection(record, None, (Fault("not-json", "no"),))
    names = [name for name, _ in fields_of(rejection, "hash", 0, Redactor(["key"]))]
    section = PAGE.partition("## Dead letters")[2].partition("## Permissions")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == names
    assert [*_example(), "redacted"] == names


async def test_the_example_is_what_the_daemon_writes(
    redis_url: str, redis_now: "redis.Redis", tmp_path: Path, allow_keys: AllowKeys
) -> None:
    allow_keys(layout.DEAD_LETTERS)
    example = _example()
    async with piping(rules_from(ORDERS, tmp_path), redis_url) as bench:
        bench.source.publish(example["raw"].encode())
        await until(lambda: bench.source.settled == 1)
    (letter,) = dead_letters(redis_now)
    assert letter["faults"] == orjson.loads(example["faults"])
    same = ("type", "rule", "what", "error", "message", "id", "attempts")
    assert [letter[name] for name in same] == [example[name] for name in same]


def _example() -> dict[str, str]:
    lines = re.findall(r'^ +(?:2\) +)?\d+\) (".*")$', PAGE, re.M)
    texts = [orjson.loads(line) for line in lines]
    return dict(zip(texts[::2], texts[1::2], strict=True))
