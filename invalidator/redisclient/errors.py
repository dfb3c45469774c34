"""The meaning of an error from Redis: retry later, never, or unknown.

Redis puts it into the first word of its reply; redis-py sometimes turns that word into a class and
sometimes leaves it in the text, and a script on Redis 6 wraps it in another sentence.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from msgspec import Struct
from redis import exceptions as redis_errors

from invalidator.errors import Unavailable


class Meaning(Enum):
    UNAVAILABLE = "unavailable"  # the server is down or rejects everything: retry later
    PERMANENT = "permanent"  # this command with this key can never work
    NOSCRIPT = "noscript"  # the server does not have the script: load it and send again
    UNKNOWN = "unknown"  # try the key alone a few times, then reject it


class Verdict(Struct, frozen=True):
    meaning: Meaning
    code: str  # a short stable word for lists and metrics: "wrongtype", "timeout"
    message: str  # for a person; without the command, which redis-py would put there

    def unavailable(self, server: str, doing: str = "") -> Unavailable:
        """`doing` is added where a permission is missing: Redis does not always name it."""
        needed = f" ({doing})" if doing and self.code == "noperm" else ""
        return Unavailable(server, self.message + needed, self.code)


# fmt: off
_UNAVAILABLE = frozenset({
    "ASK", "BUSY", "CLUSTER", "CLUSTERDOWN", "DENIED", "EXECABORT", "INPROG", "LOADING",
    "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH", "NOGOODSLAVE", "NOMASTERLINK", "NOPROTO",
    "NOREPLICAS", "NOTREADY", "OOM", "READONLY", "REDIRECT", "TRYAGAIN", "UNBLOCKED",
    "UNKILLABLE", "WRONGPASS",
})
# fmt: on
# CROSSSLOT: each key works alone, and keys of a permanent failure are sent again one by one.
# The last two come from our own scripts, about a version's value.
_PERMANENT = frozenset({"WRONGTYPE", "CROSSSLOT", "INVALIDOBJ", "NOTANUMBER", "TOOLARGE"})
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.AuthenticationError, "NOAUTH"),
    (redis_errors.BusyLoadingError, "LOADING"),
    (redis_errors.TimeoutError, "TIMEOUT"),
    (redis_errors.MasterDownError, "MASTERDOWN"),
    (redis_errors.ClusterDownError, "CLUSTERDOWN"),
    (redis_errors.MovedError, "MOVED"),
    (redis_errors.AskError, "ASK"),
    (redis_errors.ConnectionError, "CONNECTION"),
    (redis_errors.RedisClusterException, "CLUSTER"),
    (redis_errors.ClusterError, "CLUSTER"),
    # The reply was not Redis's protocol: the connection is lost, the key is not to blame.
    (redis_errors.InvalidResponse, "CONNECTION"),
    (TimeoutError, "TIMEOUT"),
    (OSError, "CONNECTION"),
)
_CODE = re.compile(r"([A-Z]{2,})(?: |$)")
# Redis 6: "Error running script (call to f_…): @user_script:1: @user_script: 1: -OOM command not …"
_WRAPPED_BY_SCRIPT = re.compile(r"^Error (?:running|compiling) script.*?(?:@\w+: ?\d+: )+-?", re.S)
# Redis 7: "OOM command not … script: c6271c…, on @user_script:1."
_CALLED_IN_SCRIPT = re.compile(r"\s*script: [0-9a-f]{40}, on @user_script:\d+\.?$")
# Operators see messages; keys may be shown at level debug only.
_QUOTED_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.S)
_ANNOTATED_BY_PIPELINE = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.S)
# A plain "ERR" reply, but due to the server's state or configuration and to no key.
_REFUSES_EVERYTHING = re.compile(
    r"unknown (?:sub)?command|Unknown Redis command|max number of clients|operation not permitted"
    r"|Script killed by user",
    re.IGNORECASE,
)
# All keys of a script of ours share a slot: it is moving, and some of them have arrived.
_OPEN_SLOT = re.compile(r"attempted to access a non local key in a cluster node")
_NO_SUCH_KEY_FOR_YOU = re.compile(r"permissions? to access|can't access at least one of the keys")
_NO_SUCH_COMMAND_FOR_YOU = re.compile(r"permissions? to run|can't run this command")


# redis-py: "Error 111 connecting to cache:6379. Connect call failed ('10.0.0.7', 6379)."
_NOT_CONNECTED = re.compile(r"Error (-?\d+) connecting to (\S+)\. ((?:[^.]|\.(?=\S))*)\.?")
_RESOLVING = ("-2", "-3", "-5")  # of getaddrinfo: no such name, try again, no address


def in_words(message: str) -> str:
    """Return a message of the library with its numbers of errors in words."""
    return _NOT_CONNECTED.sub(_not_connected, message)


def _not_connected(found: re.Match[str]) -> str:
    number, where, said = found.groups()
    if number == "111":
        return f"connection refused: no server listens on {where}"
    if number in _RESOLVING:
        return f"no address is known for {where.rpartition(':')[0] or where}: {said}"
    return f"cannot connect to {where}: {said}"


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """Raise every failure to reach a server as Unavailable."""
    try:
        yield
    except (redis_errors.RedisError, OSError, TimeoutError) as error:
        raise diagnose(error).unavailable(name) from error


def diagnose(error: BaseException) -> Verdict:
    """Return the meaning of an exception, or of an error in the reply of a pipeline."""
    if isinstance(error, redis_errors.DataError):
        return Verdict(Meaning.PERMANENT, "data", str(error))
    code = _code_of_class(error)
    message = _clean(str(error)) or type(error).__name__
    if code == "MOVED":  # a router follows these: only a client of one server ever sees them
        message = f"{message}: is one node of a cluster, which is written redis+cluster://"
    if code:
        return Verdict(Meaning.UNAVAILABLE, code.lower(), message)
    if isinstance(error, RuntimeError) and "closed" in message:  # uvloop, on a lost socket
        return Verdict(Meaning.UNAVAILABLE, "connection", message)
    if isinstance(error, redis_errors.ResponseError):
        return _diagnose_reply(error.status_code, message)
    return Verdict(Meaning.UNKNOWN, type(error).__name__.lower(), message)


def _diagnose_reply(status: str | None, message: str) -> Verdict:
    code = _code_of_reply(status, message)
    if code in _UNAVAILABLE:
        return Verdict(Meaning.UNAVAILABLE, code.lower(), message)
    if code in _PERMANENT:
        return Verdict(Meaning.PERMANENT, code.lower(), message)
    if code == "NOSCRIPT":
        return Verdict(Meaning.NOSCRIPT, "noscript", message)
    if _NO_SUCH_KEY_FOR_YOU.search(message):
        return Verdict(Meaning.PERMANENT, "noperm", message)
    if code == "NOPERM" or _NO_SUCH_COMMAND_FOR_YOU.search(message):
        return Verdict(Meaning.UNAVAILABLE, "noperm", message)
    if _OPEN_SLOT.search(message):
        return Verdict(Meaning.UNAVAILABLE, "tryagain", message)
    if _REFUSES_EVERYTHING.search(message):
        return Verdict(Meaning.UNAVAILABLE, "refused", message)
    return Verdict(Meaning.UNKNOWN, code.lower(), message)


def _code_of_reply(status: str | None, message: str) -> str:
    """Return the reply's first word: redis-py moves those it knows out of the text."""
    if status not in (None, "ERR"):
        return status
    found = _CODE.match(message)
    return found[1] if found else "ERR"


def _code_of_class(error: BaseException) -> str | None:
    return next((code for kind, code in _CLASSES if isinstance(error, kind)), None)


def _clean(message: str) -> str:
    message = in_words(_ANNOTATED_BY_PIPELINE.sub("", message))
    message = _QUOTED_ARGUMENTS.sub("", message)
    message = _WRAPPED_BY_SCRIPT.sub("", message)
    return _CALLED_IN_SCRIPT.sub("", message).strip()
