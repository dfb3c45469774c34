"""POST /explain needs no token: it is bounded, and never blocks the event loop for long."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson

from invalidator.admin.server import MOST_NAMES, Admin
from invalidator.rules import load
from invalidator.runtime.http import Request, Response
from invalidator.settings import Settings
from tests.backends.waiting import turn

RULES = "rules:\n" + "\n".join(
    f"- {{name: r{n}, on: a, invalidate: {{keys: 'k{n}:{{xs[]}}'}}}}" for n in range(50)
)


def asking(folder: Path) -> Any:
    path = folder / "rules.yaml"
    path.write_text(RULES)
    view: Any = SimpleNamespace(rules=load(path))
    control: Any = None
    admin = Admin(view, control, Settings())
    handler = admin._routes()["POST", "/explain"]

    async def ask(many: int) -> Response:
        body = orjson.dumps({"type": "a", "data": {"xs": list(range(many))}})
        return await handler(Request("POST", "/explain", {}, {}, body))

    return ask


async def test_an_answer_has_few_names_and_says_how_many_it_omits(tmp_path: Path) -> None:
    ask, longest = asking(tmp_path), 0.0
    asked = asyncio.create_task(ask(5000))
    while not asked.done():
        began = time.perf_counter()
        await turn()
        longest = max(longest, time.perf_counter() - began)
    answer = json.loads(asked.result().body)
    assert sum(len(rule["names"]) for rule in answer["rules"]) == MOST_NAMES
    assert answer["names_omitted"] == 50 * 5000 - MOST_NAMES
    assert len(asked.result().body) < 200_000
    assert longest < 2


async def test_one_event_is_explained_at_a_time(tmp_path: Path) -> None:
    ask = asking(tmp_path)
    answers = await asyncio.gather(*(ask(1000) for _ in range(8)))
    assert [answer.status for answer in answers] == [200] + [429] * 7
    assert (await ask(1)).status == 200
