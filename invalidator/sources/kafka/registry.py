"""A schema registry, asked over HTTP for the schema of each number that records name.

A schema never changes, so it is asked for once. A registry that does not answer is waited for; that
a schema does not exist is only believed if the registry itself says so, since a wrong URL answers
404 as well, and would turn every event into a dead letter.
"""

import asyncio
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPSHandler, Request, build_opener

import msgspec
from fastavro.schema import SchemaParseException, parse_schema
from msgspec import Struct

from invalidator.errors import Rejected, Unavailable
from invalidator.settings.model import Registry as Settings
from invalidator.sources.kafka.oauth import AsTheyAre

NAME: Final = "schema registry"
WITHIN: Final = 5.0  # seconds for an answer
LARGEST: Final = 4 << 20  # bytes of a schema
ASK_AGAIN: Final = 60.0  # seconds after the registry said that it has no such schema
MOST_MISSING: Final = 10_000  # numbers without a schema that are remembered
AVRO, JSON = "AVRO", "JSON"
CONFLUENT_MISSING: Final = {40401, 40402, 40403}  # no such subject, version, schema

Named = dict[str, Any]  # schemas by name, as fastavro collects them


class Schema(NamedTuple):
    kind: str  # AVRO, JSON, PROTOBUF
    parsed: Any = None  # of Avro
    name: str = ""  # of its record


class Answer(Struct, frozen=True):
    status: int
    body: bytes
    kind: str  # where the answer has a header for it


class Registry:
    """All schemas that were met, and the registry to ask for others."""

    def __init__(
        self,
        settings: Settings,
        trusted: Callable[[], ssl.SSLContext],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.schemas: dict[int, Schema | Rejected] = {}
        self._missing_until: dict[int, float] = {}
        self._apicurio = settings.format == "apicurio"
        self._url, self._login = _address(settings.url.get_secret_value())
        self._trusted = trusted
        self._clock = clock

    async def look_up(self, number: int) -> None:
        """Find the schema with this number, or why there is none. Raises Unavailable."""
        known = self.schemas.get(number)
        if isinstance(known, Schema) or (
            known and self._clock() < self._missing_until.get(number, float("inf"))
        ):
            return
        try:
            self.schemas[number] = await self._fetched(number)
        except Rejected as error:
            self._forget_missing()
            self.schemas[number] = error
            if error.error == "unknown-schema":
                self._missing_until[number] = self._clock() + ASK_AGAIN

    async def _fetched(self, number: int) -> Schema:
        named: Named = {}
        if self._apicurio:
            answer = await self._ask(f"/ids/globalIds/{number}?dereference=true")
            text, kind = answer.body, answer.kind or AVRO
        else:
            found = _json((await self._ask(f"/schemas/ids/{number}")).body)
            text, kind = found.get("schema", ""), found.get("schemaType", AVRO)
            if kind == AVRO:
                await self._collect(found, named)
        if kind != AVRO:
            return Schema(kind)
        return _parsed(number, text, named)

    async def _collect(self, found: dict[str, Any], named: Named) -> None:
        """Add the schemas that this one refers to, the innermost first."""
        for each in found.get("references") or ():
            if each["name"] not in named:
                subject = quote(each["subject"], safe="")
                path = f"/subjects/{subject}/versions/{int(each['version'])}"
                inner = _json((await self._ask(path)).body)
                await self._collect(inner, named)
                _parsed(inner.get("id", 0), inner.get("schema", ""), named)

    async def _ask(self, path: str) -> Answer:
        """Return a good answer. Raises Unavailable; Rejected if there is no such schema."""
        try:
            async with asyncio.timeout(WITHIN):
                answer = await asyncio.to_thread(self._get, path)
        except (HTTPException, OSError, TimeoutError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        if answer.status == 200:
            return answer
        if answer.status == 404 and self._says_missing(answer.body):
            raise Rejected(f"{self._url} has no schema for {path}", error="unknown-schema")
        raise self._unavailable(f"status {answer.status} for {path}")

    def _get(self, path: str) -> Answer:
        headers = {"Accept": "*/*", "User-Agent": "invalidator", **self._login}
        request = Request(self._url + path, headers=headers)  # noqa: S310 - settings say http(s)
        opener = build_opener(AsTheyAre, HTTPSHandler(context=self._trusted()))
        with opener.open(request, timeout=WITHIN) as response:
            kind = response.headers.get("X-Registry-ArtifactType", "")
            return Answer(response.status, response.read(LARGEST), kind)

    def _says_missing(self, body: bytes) -> bool:
        try:
            said = _json(body)
        except Unavailable:
            return False
        if self._apicurio:
            return said.get("error_code") == 404 or said.get("status") == 404
        return said.get("error_code") in CONFLUENT_MISSING

    def _forget_missing(self) -> None:
        """Keep a bound on what hostile records can make us remember."""
        if len(self._missing_until) >= MOST_MISSING:
            for number in self._missing_until:
                self.schemas.pop(number, None)
            self._missing_until.clear()

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(NAME, f"{self._url}: {reason}")


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL without its login, and the header for the login."""
    parts = urlsplit(url)
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    if not parts.username:
        return bare, {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return bare, {"Authorization": "Basic " + b64encode(login.encode()).decode()}


def _json(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Unavailable(NAME, "the answer is no JSON object: is this a registry?") from error


def _parsed(number: int, text: str | bytes, named: Named) -> Schema:
    try:
        parsed = parse_schema(msgspec.json.decode(text), named_schemas=named)
    except (msgspec.DecodeError, SchemaParseException, ValueError, TypeError, KeyError) as error:
        said = f"the registry's schema {number} is no Avro that can be read: {error}"
        raise Rejected(said, error="bad-schema") from error
    name = parsed.get("name", "") if isinstance(parsed, dict) else ""
    return Schema(AVRO, parsed, name)
