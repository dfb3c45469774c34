"""FastAPI takes a cached function as an endpoint and as a dependency."""

import json
from typing import Annotated, Any

from fastapi import Depends, FastAPI

from invalidator.cache import Cache
from tests.backends.redis_server import RedisServer


async def _get(app: Any, path: str, query: bytes = b"") -> Any:
    """Ask the app as a server does, by ASGI."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": query, "headers": [], "http_version": "1.1", "scheme": "http",
             "server": ("test", 80), "client": ("test", 1), "root_path": "",
             "asgi": {"version": "3.0"}}  # fmt: skip
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)


async def test_a_cached_function_is_an_endpoint_and_a_dependency(server: RedisServer) -> None:
    cache, app = Cache.from_url(server.url), FastAPI()
    calls = []

    @cache.cached("order:{order_id}:{lang}")
    async def get_order(order_id: int, lang: str = "en") -> dict[str, str]:
        calls.append(order_id)
        return {"id": str(order_id), "lang": lang}

    app.get("/orders/{order_id}")(get_order)

    @app.get("/totals/{order_id}")
    async def total(order: Annotated[dict[str, str], Depends(get_order)]) -> str:
        return f"total of {order['id']}"

    for _ in range(2):
        assert await _get(app, "/orders/7") == (200, {"id": "7", "lang": "en"})
    assert await _get(app, "/orders/7", b"lang=de") == (200, {"id": "7", "lang": "de"})
    assert await _get(app, "/totals/7") == (200, "total of 7")
    assert (await _get(app, "/orders/x"))[0] == 422
    assert calls == [7, 7]
    parameters = app.openapi()["paths"]["/orders/{order_id}"]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["order_id", "lang"]
    await cache.close()
