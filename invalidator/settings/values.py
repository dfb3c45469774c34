"""The kinds of settings: how each is parsed, validated and shown."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from invalidator.runtime.units import parse_duration, parse_size, show_duration, show_size
from invalidator.runtime.urls import parse_redis_url, redact


class Written(Struct, frozen=True):
    """How a value is parsed from text and shown as text."""

    parse: Callable[[str], Any]  # raises ValueError with what was expected
    show: Callable[[Any], str] = str
    secret: bool = False  # `show` masks it

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def _read(self, value: object) -> object:
        return self.parse(value.strip()) if isinstance(value, str) else value


def _whole(minimum: int, maximum: int | None = None) -> Written:
    expected = f"a whole number, {minimum} or more"
    if maximum is not None:
        expected = f"a whole number from {minimum} to {maximum}"

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum or (maximum and int(text) > maximum):
            raise ValueError(expected)
        return int(text)

    return Written(parse)


def _size(text: str) -> int:
    size = parse_size(text)
    if size < 1:
        raise ValueError("a size greater than 0")
    return size


def _positive_duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("a duration greater than 0, such as 2s")
    return seconds


def _session_timeout(text: str) -> float:
    seconds = parse_duration(text)
    if not 1 <= seconds <= 45:
        raise ValueError("a duration from 1s to 45s")
    return seconds


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def _choice(*words: str) -> Written:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return Written(parse)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def _text(text: str) -> str:
    if not text:
        raise ValueError("some text")
    return text


def _topics(text: str) -> tuple[str, ...]:
    topics = _names(text)
    for topic in topics:
        if topic.startswith("^"):
            _check_pattern(topic)
        elif not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
            raise ValueError(f"topic names of letters, digits, . _ and -, not {topic!r}")
    return topics


def _optional_topic(text: str) -> str:
    if text and (len(_topics(text)) != 1 or text.startswith("^")):
        raise ValueError("the name of one topic")
    return text


def names_topic(entry: str, topic: str) -> bool:
    """Return true if an entry of KAFKA__TOPICS includes that topic."""
    return entry == topic or (entry.startswith("^") and re.match(entry, topic) is not None)


def _check_pattern(topic: str) -> None:
    try:
        re.compile(topic)
    except re.error as error:
        raise ValueError(f"a regular expression after ^, not {topic!r}: {error}") from None


def _pairs(text: str) -> tuple[str, ...]:
    pairs = _names(text)
    for pair in pairs:
        if not re.fullmatch(r"[A-Za-z]+=.+", pair):
            raise ValueError(f"name=value pairs separated by commas, not {pair!r}")
    return pairs


def _field_paths(text: str) -> tuple[str, ...]:
    paths = _names(text)
    for path in paths:
        if not all(path.split(".")) or path.endswith("**"):
            raise ValueError(f"paths such as data.email or **.password, not {path!r}")
    return paths


def _token_url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@#]*)?", text):
        raise ValueError("a URL such as https://login.example.com/oauth2/token, without a password")
    return text


def _servers(text: str) -> tuple[str, ...]:
    servers = _names(text)
    for server in servers:
        if not re.fullmatch(r"([^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", server):
            raise ValueError(f"host:port pairs separated by commas, not {server!r}")
    return servers


def _path(text: str) -> Path:
    if not text:
        raise ValueError("a path")
    return Path(text)


def _token(text: str) -> SecretStr:
    if text and not re.fullmatch(r"[!-~]{16,}", text):
        raise ValueError("16 characters or more, printable ASCII without spaces")
    return SecretStr(text)


def _redis_url(text: str) -> SecretStr:
    parse_redis_url(text)
    return SecretStr(text)


def _show_url(url: SecretStr) -> str:
    return redact(url.get_secret_value())


def _start(text: str) -> str | float:
    if text in ("latest", "earliest"):
        return text
    expected = "latest, earliest, or how far back as a negative duration such as -1h"
    if not text.startswith("-"):
        raise ValueError(expected)
    try:
        return -parse_duration(text[1:])
    except ValueError:
        raise ValueError(expected) from None


def _show_start(start: str | float) -> str:
    return start if isinstance(start, str) else f"-{show_duration(-start)}"


Duration = Annotated[float, Written(parse_duration, show_duration)]
PositiveDuration = Annotated[float, Written(_positive_duration, show_duration)]
SessionTimeout = Annotated[float, Written(_session_timeout, show_duration)]
Switch = Annotated[bool, Written(_switch, lambda on: str(on).lower())]
Size = Annotated[int, Written(_size, show_size)]
Count = Annotated[int, _whole(1)]
Limit = Annotated[int, _whole(0)]  # 0: none
Port = Annotated[int, _whole(0, 65535)]
Names = Annotated[tuple[str, ...], Written(_names, ",".join)]
Text = Annotated[str, Written(_text)]
OptionalText = Annotated[str, Written(str)]
Secret = Annotated[SecretStr, Written(SecretStr, lambda it: "***" if it else "", secret=True)]
Token = Annotated[SecretStr, Written(_token, lambda it: "***" if it else "", secret=True)]
Pairs = Annotated[tuple[str, ...], Written(_pairs, ",".join)]
FieldPaths = Annotated[tuple[str, ...], Written(_field_paths, ",".join)]
TokenUrl = Annotated[str, Written(_token_url, redact, secret=True)]  # a wrong one may have a login
OptionalTopic = Annotated[str, Written(_optional_topic)]
Topics = Annotated[tuple[str, ...], Written(_topics, ",".join)]
Servers = Annotated[tuple[str, ...], Written(_servers, ",".join)]
FilePath = Annotated[Path, Written(_path)]
OptionalPath = Annotated[Path | None, Written(_path, lambda path: str(path or ""))]
RedisUrl = Annotated[SecretStr, Written(_redis_url, _show_url, secret=True)]
Announce = Annotated[Literal["listened", "always", "never"], _choice("listened", "always", "never")]
Start = Annotated[Literal["latest", "earliest"] | float, Written(_start, _show_start)]
Mechanism = Annotated[
    Literal["none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer"],
    _choice("none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer"),
]
LogFormat = Annotated[Literal["json", "console"], _choice("json", "console")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], _choice("debug", "info", "warning", "error")
]
