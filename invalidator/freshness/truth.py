"""The source of truth: what an entry should say, by HTTP or from PostgreSQL."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from invalidator.errors import ConfigError, Unavailable
from invalidator.rules.rule import Rule, Verify
from invalidator.settings import Settings
from invalidator.templates import Template

WITHIN: Final = 5.0  # seconds
MOST: Final = 1 << 20  # bytes of an answer
TOGETHER: Final = 4  # questions at a time

Row = Mapping[str, Any] | None  # None: there is no such row


class Truth(Protocol):
    """Knows what is true."""

    async def ask(self, verify: Verify, values: Mapping[str, str]) -> Row:
        """Return the truth about the key with these values. Raises Unavailable."""

    async def aclose(self) -> None:
        """Close all connections."""


class Truths:
    """Asks the URL or the database that a rule names."""

    def __init__(self, settings: Settings) -> None:
        token = settings.freshness.url_token.get_secret_value()
        self._web = Web({"Authorization": f"Bearer {token}"} if token else {})
        self._database = Postgres(settings.freshness.postgres.get_secret_value())
        self._room = asyncio.Semaphore(TOGETHER)

    async def ask(self, verify: Verify, values: Mapping[str, str]) -> Row:
        async with self._room:
            if verify.url:
                return await self._web.ask(verify.url, values)
            assert verify.sql
            return await self._database.ask(verify.sql, values)

    async def aclose(self) -> None:
        await self._database.aclose()


class Web:
    """Asks by HTTP; 404 and 410 say that there is no such row."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {"Accept": "application/json", **headers}
        self._opener = build_opener(ProxyHandler({}), _Straight)

    async def ask(self, url: Template, values: Mapping[str, str]) -> Row:
        return await asyncio.to_thread(self._get, filled_url(url, values))

    def _get(self, url: str) -> Row:
        try:
            with self._opener.open(Request(url, headers=self._headers), timeout=WITHIN) as answer:  # noqa: S310
                found = json.loads(answer.read(MOST))
        except HTTPError as error:
            with error:
                if error.code in (404, 410):
                    return None
            raise Unavailable("truth", f"HTTP {error.code}") from error
        except (OSError, ValueError) as error:  # ValueError: no JSON, or no URL
            raise Unavailable("truth", type(error).__name__) from error
        if not isinstance(found, dict):
            raise Unavailable("truth", "the answer is no JSON object")
        return found


class _Straight(HTTPRedirectHandler):
    """Follows no redirect: only the host that the rules name may receive the token."""

    def redirect_request(self, *_: object) -> None: ...


class Postgres:
    """Asks one PostgreSQL, in read-only transactions on one connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def ask(self, sql: Template, values: Mapping[str, str]) -> Row:
        try:
            import psycopg
        except ImportError as error:  # rules that were loaded later
            raise Unavailable("PostgreSQL", "invalidator[postgres] is not installed") from error
        if not self._url:
            raise Unavailable("PostgreSQL", "INVALIDATOR_FRESHNESS__POSTGRES is not set")
        text, arguments = query(sql, values)
        async with self._turn:
            try:
                connection = await self._connected()
                found = await connection.execute(text, arguments)
                row = await found.fetchone()
            except psycopg.DataError:
                return None  # a text that no row can have, such as a letter in a number
            except psycopg.Error as error:
                await self._close()
                raise Unavailable("PostgreSQL", type(error).__name__) from error
        if row is None:
            return None
        return {column.name: value for column, value in zip(found.description, row, strict=True)}

    async def aclose(self) -> None:
        async with self._turn:
            await self._close()

    async def _connected(self) -> Any:
        import psycopg

        if self._connection is None or self._connection.closed:
            options = (
                f"-c default_transaction_read_only=on -c statement_timeout={int(WITHIN * 1000)}"
            )
            self._connection = await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                options=options,
                connect_timeout=int(WITHIN),
                application_name="invalidator-freshness",
            )
        return self._connection

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def check_truth(rules: Mapping[str, Verify], settings: Settings) -> None:
    """Raise ConfigError where a rule asks PostgreSQL and the daemon cannot."""
    named = next((name for name, verify in rules.items() if verify.sql), None)
    if named is None:
        return
    if not settings.freshness.postgres.get_secret_value():
        raise ConfigError(
            f"INVALIDATOR_FRESHNESS__POSTGRES: missing, but required by verify: of the rule {named}"
        )
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"verify: of the rule {named} needs psycopg, which is not installed: "
            "pip install 'invalidator[postgres]'"
        ) from error


def filled_url(url: Template, values: Mapping[str, str]) -> str:
    """Return the URL about a key; values are quoted, so that none adds a part to it."""
    return "".join(
        part if isinstance(part, str) else quote(values[part.source.text], safe="")
        for part in url.parts
    )


def query(sql: Template, values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the query, and its arguments: values never become part of its text."""
    text, arguments = "", {}
    for number, part in enumerate(sql.parts):
        if isinstance(part, str):
            text += part.replace("%", "%%")
        else:
            text += f"%(v{number})s"
            arguments[f"v{number}"] = values[part.source.text]
    return text, arguments


def values_of(rule: Rule, prefix: str, key: str) -> Mapping[str, str] | None:
    """Return the values in a key, by the first template of the rule that could have given it."""
    for effect in rule.effects:
        if effect.kind == "keys" and (found := captured(effect.template, prefix, key)) is not None:
            return found
    return None


def captured(template: Template, prefix: str, key: str) -> dict[str, str] | None:
    """Return the values in a key by the paths of its template; None where it is not of it."""
    paths: list[str] = []
    text = re.escape(prefix)
    for part in template.parts:
        if isinstance(part, str):
            text += re.escape(part)
        else:
            paths.append(part.source.text)
            text += "(.+?)"
    found = re.fullmatch(text, key, re.DOTALL)
    return dict(zip(paths, found.groups(), strict=True)) if found else None
