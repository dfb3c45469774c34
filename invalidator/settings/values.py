"""The kinds of settings: how each is parsed, validated and shown."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Struct
from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from invalidator.runtime.units import parse_duration, parse_size, show_duration, show_size
from invalidator.runtime.urls import parse_http_url, parse_redis_url, redact

T = TypeVar("T")


MOST_DELAYS = 10  # each is a label of a metric
SCHEMES = ("token", "github", "shopify", "stripe", "standard")  # how senders of events prove it


class Written(Struct, frozen=True):
    """Parses a value from text, and shows it as text."""

    parse: Callable[[str], Any]  # raises ValueError with what was expected
    show: Callable[[Any], str] = str
    secret: bool = False  # `show` masks it

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def _read(self, value: object) -> object:
        return self.parse(value.strip()) if isinstance(value, str) else value


def _where(
    parse: Callable[[str], T], good: Callable[[T], object], expected: str
) -> Callable[[str], T]:
    """Return a parser that accepts only the good values."""

    def parsed(text: str) -> T:
        value = parse(text)
        if not good(value):
            raise ValueError(expected)
        return value

    return parsed


def _whole(minimum: int, maximum: int | None = None) -> Written:
    expected = f"a whole number, {minimum} or more"
    if maximum is not None:
        expected = f"a whole number from {minimum} to {maximum}"
    digits = _where(str, str.isdecimal, expected)
    most = math.inf if maximum is None else maximum
    return Written(_where(lambda text: int(digits(text)), lambda n: minimum <= n <= most, expected))


def _choice(*words: str) -> Written:
    return Written(_where(str.lower, words.__contains__, f"one of {', '.join(words)}"))


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def _each(pattern: str, expected: str) -> Written:
    """Return how a list is written, each element of which matches a regular expression."""

    def parse(text: str) -> tuple[str, ...]:
        names = _names(text)
        for name in names:
            if not re.fullmatch(pattern, name):
                raise ValueError(f"{expected}, not {name!r}")
        return names

    return Written(parse, ",".join)


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


def _field_paths(text: str) -> tuple[str, ...]:
    paths = _names(text)
    for path in paths:
        if not all(path.split(".")) or path.endswith("**"):
            raise ValueError(f"paths such as data.email or **.password, not {path!r}")
    return paths


def _redis_url(text: str) -> SecretStr:
    parse_redis_url(text)
    return SecretStr(text)


def _show_url(url: SecretStr) -> str:
    return redact(url.get_secret_value())


def _route(text: str) -> tuple[str, str]:
    scheme, _, secret = text.partition(":")
    if scheme not in SCHEMES or not re.fullmatch(r"[!-~]{16,}", secret):
        raise ValueError(
            f"SCHEME:SECRET, with one of {', '.join(SCHEMES)} and a secret of 16 characters or "
            "more, printable ASCII without spaces"
        )
    return scheme, secret


def _edge_urls(text: str) -> SecretStr:
    urls = _names(text)
    if not urls:
        raise ValueError("a URL, or several separated by commas")
    for url in urls:
        parse_http_url(url)
    return SecretStr(",".join(urls))


def _show_urls(urls: SecretStr) -> str:
    return ",".join(map(redact, _names(urls.get_secret_value())))


def _rate(text: str) -> float:
    number, _, per = text.partition("/")
    try:
        rate = float(number) / _PER[per.strip()] if text else 0.0
    except (ValueError, KeyError):
        rate = -1.0
    if not 0 <= rate < math.inf:
        raise ValueError("a rate such as 5/s, 100/min or 1000/h")
    return rate


def _show_rate(rate: float) -> str:
    for unit, seconds in _PER.items():
        if rate and (rate * seconds).is_integer():
            return f"{rate * seconds:g}/{unit}"
    return f"{rate * 3600:g}/h" if rate else ""


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


_PER = {"s": 1.0, "min": 60.0, "h": 3600.0}  # seconds
_size = _where(parse_size, lambda size: size >= 1, "a size greater than 0")
_positive = _where(parse_duration, lambda s: s > 0, "a duration greater than 0, such as 2s")
_session = _where(parse_duration, lambda s: 1 <= s <= 45, "a duration from 1s to 45s")
_switch = _where(str.lower, ("true", "false").__contains__, "true or false")
_text = _where(str, bool, "some text")
_path = _where(str, bool, "a path")
_token_url = _where(
    str,
    re.compile(r"(https?://[^\s/@?#]+(/[^\s@#]*)?)?").fullmatch,
    "a URL such as https://login.example.com/oauth2/token, without a password",
)


def _registry_url(text: str) -> SecretStr:
    found = re.fullmatch(r"(https?)://([^\s/@?#]+@)?[^\s/@?#]+(/[^\s@?#]*)?", text)
    if text and (not found or (found[1] == "http" and found[2])):
        raise ValueError(
            "a URL such as https://KEY:SECRET@registry.example.com; a login needs https"
        )
    return SecretStr(text)


_token = _where(
    str,
    re.compile(r"([!-~]{16,})?").fullmatch,
    "16 characters or more, printable ASCII without spaces",
)
_in_header = _where(str, re.compile(r"[!-~]*").fullmatch, "printable ASCII without spaces")


def _share(text: str) -> float:
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text) or float(text) > 1:
        raise ValueError("a share from 0 to 1, such as 0.01")
    return float(text)


def _delays(text: str) -> tuple[float, ...]:
    delays = tuple(sorted({_positive(part) for part in _names(text)}))
    if not delays or len(delays) > MOST_DELAYS:
        raise ValueError(f"1 to {MOST_DELAYS} durations separated by commas, such as 1s,60s,5m")
    return delays


Share = Annotated[float, Written(_share, "{:g}".format)]
Delays = Annotated[
    tuple[float, ...], Written(_delays, lambda each: ",".join(map(show_duration, each)))
]
Duration = Annotated[float, Written(parse_duration, show_duration)]
PositiveDuration = Annotated[float, Written(_positive, show_duration)]
SessionTimeout = Annotated[float, Written(_session, show_duration)]
Switch = Annotated[bool, Written(lambda text: _switch(text) == "true", lambda on: str(on).lower())]
Size = Annotated[int, Written(_size, show_size)]
Count = Annotated[int, _whole(1)]
Limit = Annotated[int, _whole(0)]  # 0: none
Port = Annotated[int, _whole(0, 65535)]
Names = Annotated[tuple[str, ...], Written(_names, ",".join)]
Text = Annotated[str, Written(_text)]
OptionalText = Annotated[str, Written(str)]
Secret = Annotated[SecretStr, Written(SecretStr, lambda it: "***" if it else "", secret=True)]
Token = Annotated[
    SecretStr,
    Written(lambda text: SecretStr(_token(text)), lambda it: "***" if it else "", secret=True),
]
Route = Annotated[tuple[str, str], Written(_route, lambda route: f"{route[0]}:***", secret=True)]
Pairs = Annotated[tuple[str, ...], _each(r"[A-Za-z]+=.+", "name=value pairs separated by commas")]
FieldPaths = Annotated[tuple[str, ...], Written(_field_paths, ",".join)]
RegistryUrl = Annotated[SecretStr, Written(_registry_url, _show_url, secret=True)]
RegistryFormat = Annotated[Literal["confluent", "apicurio"], _choice("confluent", "apicurio")]
TokenUrl = Annotated[str, Written(_token_url, redact, secret=True)]  # a wrong one may have a login
OptionalTopic = Annotated[str, Written(_optional_topic)]
Topics = Annotated[tuple[str, ...], Written(_topics, ",".join)]
Servers = Annotated[
    tuple[str, ...],
    _each(r"([^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", "host:port pairs separated by commas"),
]
FilePath = Annotated[Path, Written(lambda text: Path(_path(text)))]
OptionalPath = Annotated[
    Path | None, Written(lambda text: Path(_path(text)), lambda path: str(path or ""))
]
RedisUrl = Annotated[SecretStr, Written(_redis_url, _show_url, secret=True)]
EdgeSecret = Annotated[
    SecretStr,
    Written(lambda text: SecretStr(_in_header(text)), lambda it: "***" if it else "", secret=True),
]
EdgeUrls = Annotated[SecretStr, Written(_edge_urls, _show_urls, secret=True)]
Rate = Annotated[float, Written(_rate, _show_rate)]  # requests per second; 0: the target's own
Announce = Annotated[Literal["listened", "always", "never"], _choice("listened", "always", "never")]
Start = Annotated[Literal["latest", "earliest"] | float, Written(_start, _show_start)]
Mechanism = Annotated[
    Literal["none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer", "aws-msk-iam"],
    _choice("none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer", "aws-msk-iam"),
]
LogFormat = Annotated[Literal["auto", "json", "console"], _choice("auto", "json", "console")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], _choice("debug", "info", "warning", "error")
]
