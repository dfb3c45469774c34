"""Redis URLs: parse them, and show them without passwords."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct, field

Kind = Literal["server", "socket", "sentinel", "cluster"]
Host = tuple[str, int]

# All but the socket have a form with TLS, rediss…
_KINDS: Mapping[str, Kind] = {
    "redis": "server",
    "unix": "socket",
    "redis+sentinel": "sentinel",
    "redis+cluster": "cluster",
}
_SCHEMES = "redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"
_PORTS = {"server": 6379, "socket": 0, "sentinel": 26379, "cluster": 6379}
_ESCAPED = "whose password has / ? # @ written as %2F %3F %23 %40"

# Other options of the client library would override our timeouts and decoding.
_OPTIONS = ("db", "client_name", "password_file")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_password_file")
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = (
    *TLS_FILES,
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_password",
)
_CHOICES = {
    "ssl_cert_reqs": ("required", "optional", "none"),
    "ssl_check_hostname": ("true", "false"),
}

# `password_file` is shown: it is only the path of a secret.
_SECRET_OPTION = re.compile(
    r"([?&](?![^=&]*_file=)[^=&]*(?:pass|pwd|secret|token|auth)[^=&]*=)[^&#]*", re.IGNORECASE
)
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/?#@,\s]+))(?::([0-9]+))?")


class Address(Struct, frozen=True):
    """The address of a Redis, and the login."""

    kind: Kind
    tls: bool
    hosts: tuple[Host, ...]  # of a cluster or of sentinels: the first to ask
    path: str = ""  # of a socket
    service: str = ""  # the primary's name in the sentinels
    db: int = 0
    username: str = ""
    password: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return a text without passwords, which options may contain too."""
        return f"Address({self.kind!r}, {self.hosts or self.path!r}, {self.username!r})"


def redact(url: str) -> str:
    """Return the URL for people and logs: with user, host, port and database, without password.

    Broken URLs must not reveal a password either, such as one with an unescaped `/` or `@`, so
    everything before the last `@` is treated as user and password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if url else ""  # not a URL, perhaps a bare password
    login, at, where = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    if re.search(r"[/?#]", user):
        user = "***"
    masked = f"{user}:***" if colon else user
    return f"{scheme}://{masked}{at}" + _SECRET_OPTION.sub(r"\1***", where)


def parse_redis_url(url: str) -> Address:
    """Return the parsed URL. Raises ValueError with what was expected."""
    scheme, separator, _ = url.partition("://")
    tls = scheme.startswith("rediss")
    kind = _KINDS.get(scheme.replace("rediss", "redis", 1))
    if kind is None or not separator:
        raise ValueError(f"a URL that begins with one of {_SCHEMES}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"a URL with a host in the right form, {_ESCAPED}") from None
    login, _, where = parts.netloc.rpartition("@")
    if "@" in login + parts.path + parts.query + parts.fragment:
        raise ValueError(f"a URL {_ESCAPED}")
    username, _, password = login.partition(":")
    options = _options(parts.query, kind, tls)
    if password and "password_file" in options:
        raise ValueError("either a password in the URL or a password_file")
    service, db = _path(kind, parts.path)
    return Address(
        kind,
        tls,
        tuple(_hosts(kind, where)),
        unquote(parts.path) if kind == "socket" else "",
        service,
        int(options.pop("db", db) or 0),
        unquote(username),
        unquote(password),
        options,
    )


class HttpUrl(Struct, frozen=True):
    """Says where an HTTP service is."""

    tls: bool
    host: str
    port: int
    path: str  # with the query; empty for the root

    @property
    def authority(self) -> str:
        """Return host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_http_url(url: str) -> HttpUrl:
    """Return the parsed URL. Raises ValueError with what was expected."""
    expected = "a URL such as http://10.0.0.1:6081, without a password"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    wrong = parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc
    if wrong or parts.fragment or re.search(r"[^!-~]", url):
        raise ValueError(expected)
    tls = parts.scheme == "https"
    path = parts.path.rstrip("/") if not parts.query else f"{parts.path}?{parts.query}"
    return HttpUrl(tls, parts.hostname or "", port or (443 if tls else 80), path)


def _hosts(kind: Kind, where: str) -> Iterator[Host]:
    if kind == "socket":
        return
    if not where:
        raise ValueError(f"a URL with a host, such as {_example(kind)}")
    if kind == "server" and "," in where:
        raise ValueError("one host; only redis+cluster:// and redis+sentinel:// take several")
    for each in where.split(","):
        found = _HOST.fullmatch(each)
        if not found or int(found[3] or 0) > 65535:
            raise ValueError(f"a URL with a port from 0 to 65535, {_ESCAPED}")
        yield (found[1] or found[2]).lower(), int(found[3] or _PORTS[kind])


def _path(kind: Kind, path: str) -> tuple[str, str]:
    """Return the service and the database in the URL's path."""
    if kind == "socket":
        if len(path) < 2:
            raise ValueError("the path of a socket, such as unix:///run/redis/redis.sock")
        return "", ""
    if kind == "sentinel":
        found = re.fullmatch(r"/([^/]+)(?:/([0-9]*))?", path)
        if not found:
            raise ValueError(
                "a URL that ends in the service name of the sentinels and a database number, "
                f"such as {_example(kind)}"
            )
        return unquote(found[1]), found[2] or ""
    if not re.fullmatch(r"/?[0-9]*", path):
        raise ValueError("a URL that ends in a database number, such as /0")
    if kind == "cluster" and path.strip("/0"):
        raise ValueError("a URL without a database number: a cluster has only 0")
    return "", path[1:]


def _options(query: str, kind: Kind, tls: bool) -> dict[str, str]:
    known: tuple[str, ...] = _OPTIONS
    if kind == "cluster":
        known = tuple(name for name in known if name != "db")
    if kind == "sentinel":
        known += _SENTINEL_OPTIONS
    if tls:
        known += _TLS_OPTIONS
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"only the options {', '.join(known)} in the URL")
        if name == "db" and not value.isdecimal():
            raise ValueError("a database number after db=")
        if value.lower() not in _CHOICES.get(name, (value.lower(),)):
            raise ValueError(f"{' or '.join(_CHOICES[name])} after {name}=")
    return options


def _example(kind: Kind) -> str:
    return {
        "sentinel": "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster/0",
        "cluster": "redis+cluster://10.0.0.1:6379,10.0.0.2:6379",
    }.get(kind, "redis://127.0.0.1:6379/0")
