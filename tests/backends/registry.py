"""A schema registry in the process of the tests, with the interface of Confluent or Apicurio."""

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro
from aiohttp import web

ORDER = {
    "type": "record",
    "name": "OrderUpdated",
    "namespace": "com.shop",
    "fields": [{"name": "orderId", "type": "string"}, {"name": "customerId", "type": "string"}],
}


@dataclass
class SchemaRegistry:
    """`down` answers 503, `lost` as a server that is no registry. `asked` are the paths."""

    url: str = ""
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)  # as Confluent answers
    subjects: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: bool = False
    lost: bool = False
    login: str = ""
    asked: list[str] = field(default_factory=list)

    def add(self, number: int, schema: object = ORDER, **more: Any) -> None:
        self.schemas[number] = {"schema": json.dumps(schema), **more}

    async def by_id(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        found = self.schemas.get(number)
        if found is None:
            said = {"error_code": 40403, "message": f"Schema {number} not found"}
            return web.json_response(said, status=404)
        return web.json_response(found)

    async def by_global_id(self, request: web.Request) -> web.Response:
        found = self.schemas.get(int(request.match_info["number"]))
        if found is None:
            said = {"error_code": 404, "name": "ArtifactNotFoundException"}
            return web.json_response(said, status=404)
        kind = found.get("schemaType", "AVRO")
        return web.Response(text=found["schema"], headers={"X-Registry-ArtifactType": kind})

    async def by_subject(self, request: web.Request) -> web.Response:
        return web.json_response(self.subjects[request.match_info["subject"]])

    @web.middleware
    async def gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.down:
            return web.Response(status=503, text="starting")
        if self.lost:
            return web.Response(status=404, text="<html>no such page</html>")
        if self.login and request.headers.get("Authorization") != self.login:
            return web.json_response({"error_code": 401}, status=401)
        answered: web.StreamResponse = await handler(request)
        return answered


@asynccontextmanager
async def schema_registry() -> AsyncIterator[SchemaRegistry]:
    registry = SchemaRegistry()
    app = web.Application(middlewares=[registry.gate])
    app.router.add_get("/schemas/ids/{number}", registry.by_id)
    app.router.add_get("/ids/globalIds/{number}", registry.by_global_id)
    app.router.add_get("/subjects/{subject}/versions/{version}", registry.by_subject)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.url = f"http://{host}:{port}"
    try:
        yield registry
    finally:
        await runner.cleanup()


def avro(number: int, event: object, schema: Any = ORDER, *, frame: str = ">bI") -> bytes:
    """Return an event as a registry's client writes it: `>bI` of Confluent, `>bQ` of Apicurio."""
    return struct.pack(frame, 0, number) + bare(event, schema)


def bare(event: object, schema: Any = ORDER) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event)
    return out.getvalue()
