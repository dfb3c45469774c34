"""Redis URLs: what is accepted, and how one is shown without its password."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

REDIS_SCHEMES = ("redis", "rediss", "unix")

# Of the client library's options only these: others would undo our deadlines and decoding.
_OPTIONS = ("db", "client_name")
_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
)

_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&#]*", re.IGNORECASE)


def redact(url: str) -> str:
    """The URL for people and logs: user, host, port and database stay, the password does not.

    Written for broken URLs too: a password with an unescaped `/` or `@` must not show either,
    so whatever stands before the last `@` counts as user and password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"  # no URL at all: for all that is known, a bare password
    login, at, where = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    if re.search(r"[/?#]", user):
        user = "***"
    masked = f"{user}:***" if colon else user
    return f"{scheme}://{masked}{at}" + _SECRET_OPTION.sub(r"\1***", where)


def check_redis_url(url: str) -> None:
    """Raise ValueError, saying what was expected, if the client could not use this URL."""
    parts = _split(url)
    schemes = ", ".join(f"{scheme}://" for scheme in REDIS_SCHEMES)
    if parts.scheme not in REDIS_SCHEMES or "://" not in url:
        raise ValueError(f"a URL that begins with one of {schemes}")
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError("a URL whose password has / ? # @ written as %2F %3F %23 %40")
    if parts.scheme == "unix":
        _check_socket(parts)
    else:
        _check_server(parts)
    _check_options(parts)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        raise ValueError(
            "a URL with a port from 0 to 65535, whose password has / ? # @ written as "
            "%2F %3F %23 %40"
        ) from None
    return parts


def _check_socket(parts: SplitResult) -> None:
    if len(parts.path) < 2:
        raise ValueError("the path of a socket, such as unix:///run/redis/redis.sock")


def _check_server(parts: SplitResult) -> None:
    if not parts.hostname:
        raise ValueError("a URL with a host, such as redis://127.0.0.1:6379/0")
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError("a URL that ends in a database number, such as /0")


def _check_options(parts: SplitResult) -> None:
    known = (*_OPTIONS, *_TLS_OPTIONS) if parts.scheme == "rediss" else _OPTIONS
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"no options in the URL but {', '.join(known)}")
        if name == "db" and not value.isdecimal():
            raise ValueError("a database number after db=")
