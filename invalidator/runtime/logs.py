"""Logging: structlog, configured once; what libraries log comes out in the same form.

Libraries are never heard at debug: aiokafka prints the SASL password there. While a server is
away they repeat themselves many times a second, so the same message passes once in a while only.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

from invalidator.runtime.terminal import coloured

QUIET_SECONDS = 30.0  # how long the same message of a library is held back
_REMEMBERED = 1000  # messages; more are only seen if a library puts values into its templates

# Their stack traces tell of a server that is away, which our own lines say better.
_CLIENTS = ("aiokafka", "redis")

_Fields = MutableMapping[str, Any]


def configure(
    form: str,
    level: str,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send all logging to the stream (stderr), as "json" or "console". May be called again."""
    out = stream or sys.stderr
    structlog.configure(
        processors=_processors(form, out),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Out(out),
        # Finding a logger anew costs 2 µs a line, and there is one line a batch. A cached one
        # would stay with the stream and level of its first use.
        cache_logger_on_first_use=False,
    )
    _take_over_stdlib(level, clock)


def _processors(form: str, out: TextIO) -> list[Processor]:
    if form == "json":
        return [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _as_json,
        ]
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(
            colors=coloured(out),
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _as_json(_logger: object, _method: str, fields: _Fields) -> str:
    first = {name: fields.pop(name, None) for name in ("timestamp", "level", "event")}
    line = {**first, **fields}
    try:
        return orjson.dumps(line, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # integers over 64 bits, lone surrogates: a log line must never fail
        return json.dumps(line, default=_plain, skipkeys=True)


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset):
        return list(value)
    return str(value)


class _Out:
    """Writes lines. A log that cannot be written must not stop an invalidation."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


class Repeats:
    """Lets the same message through once in a while, and counts what it held back."""

    def __init__(self, clock: Callable[[], float], quiet: float = QUIET_SECONDS) -> None:
        self._clock = clock
        self._quiet = quiet
        self._seen: dict[object, tuple[float, int]] = {}  # message -> (said at, held back since)

    def admit(self, message: object) -> int | None:
        """How many were held back since the last one, or None: hold this one back too."""
        now = self._clock()
        said, held = self._seen.get(message, (now - self._quiet, 0))
        if now - said < self._quiet:
            self._seen[message] = (said, held + 1)
            return None
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[message] = (now, 0)
        return held


class _Libraries(logging.Handler):
    """Hands the records of the standard library's logging to structlog."""

    def __init__(self, level: int, repeats: Repeats, *, tracebacks: bool) -> None:
        super().__init__(level)
        self._repeats = repeats
        self._tracebacks = tracebacks
        self._log = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        message = _message(record)
        template = message if record.msg == "%s" else str(record.msg)
        held = self._repeats.admit((record.name, record.levelno, template))
        if held is None:
            return
        fields: dict[str, Any] = {"logger": record.name}
        if held:
            fields["suppressed"] = held
        self._log.log(_known_level(record.levelno), message, **fields, **self._why(record))

    def _why(self, record: logging.LogRecord) -> dict[str, Any]:
        if not record.exc_info or record.exc_info[1] is None:
            return {}
        if self._tracebacks or not _server_is_away(record, record.exc_info[1]):
            return {"exc_info": record.exc_info}
        error = record.exc_info[1]
        return {"error": f"{type(error).__name__}: {error}"}


def _server_is_away(record: logging.LogRecord, error: BaseException) -> bool:
    """Rather than a mistake of ours, which asyncio reports in the same way."""
    return record.name.split(".")[0] in _CLIENTS or isinstance(error, OSError)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().strip()
    except (TypeError, ValueError):  # the library's arguments do not fit its template
        return str(record.msg)


def _known_level(level: int) -> int:
    return max(logging.DEBUG, min(level // 10 * 10, logging.CRITICAL))


def _take_over_stdlib(named: str, clock: Callable[[], float]) -> None:
    debug = named == "debug"
    ours = logging.getLevelNamesMapping()[named.upper()]
    level = logging.INFO if debug else max(ours, logging.WARNING)
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Libraries)]:
        root.removeHandler(handler)
    # The handler's own level holds even where somebody sets a library's logger to DEBUG.
    root.addHandler(_Libraries(level, Repeats(clock), tracebacks=debug))
    root.setLevel(level)
    logging.captureWarnings(True)
