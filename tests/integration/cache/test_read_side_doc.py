"""docs/read-side.md: its examples run, and its table of kinds is that of the code."""

import re
from collections.abc import Callable
from typing import Any

from invalidator.cache.kinds import Kind, Policy
from invalidator.cache.memory import Clock
from tests.backends.redis_server import RedisServer
from tests.pages import TOP, Page

PAGE = Page(TOP / "docs" / "read-side.md")


async def test_every_example_runs(
    server: RedisServer, cache_in_memory: Callable[[Any], Clock]
) -> None:
    scope: dict[str, Any] = {}
    shown = 0
    for block in PAGE.blocks:
        if block.language != "python":
            continue
        text = block.text.replace("redis://127.0.0.1:6379/0", server.url)
        exec(compile(text, block.place, "exec"), scope)
        if show := scope.pop("show", None):
            await show()
            shown += 1
    await scope["test_an_order_is_cached"](cache_in_memory)
    await scope["cache"].close()
    assert shown >= 10


def test_the_table_of_kinds_has_every_field() -> None:
    section = PAGE.text.partition("\n## Kinds\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \| (\S+)", section, re.M)
    assert [name for name, _ in named] == list(Kind.__struct_fields__)
    defaults = Kind(**{n: v for n, v in named if n in ("ttl", "negative_ttl", "lease", "wait")})
    assert defaults.over(Policy()) == Policy()
