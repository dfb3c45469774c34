"""Logging by structlog, with the records of libraries in the same form.

Libraries never log at debug level: aiokafka prints the SASL password there. While a server is
unavailable they repeat messages many times a second, so repetitions are suppressed.
"""

import json
import logging
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

from invalidator.runtime.terminal import Colour, paint, printable

QUIET_SECONDS = 30.0  # how long repetitions of a library's message are suppressed
_REMEMBERED = 1000  # messages; there are more only if a library formats values into its templates

# Their lines are about an unavailable server, which our own report better: shown at debug only.
_CLIENTS = ("aiokafka", "redis")

_Fields = MutableMapping[str, Any]

_INDENT = 8  # columns of a line that continues another
_LEVELS: dict[str, Colour] = {
    "debug": "dim",
    "warning": "yellow",
    "error": "red",
    "critical": "red",
}


def configure(
    form: str,
    level: str,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send all logging to the stream (stderr), as "json" or "console"; "auto" is console on a
    terminal. May be called again."""
    out = stream or sys.stderr
    if form == "auto":
        form = "console" if out.isatty() else "json"
    writer = _Out(out)
    structlog.configure(
        processors=_processors(form, out),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: writer,
        # Binding a logger costs 2 µs per line, and there is one line per batch. A cached one would
        # keep the stream and level of its first use.
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
        structlog.processors.format_exc_info,
        _Console(out),
    ]


class _Console:
    """Writes lines for people, which fit the terminal; a longer one continues on the next.

    Names of channels and messages come from others, so control characters are escaped.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._columns = (lambda: shutil.get_terminal_size().columns) if out.isatty() else None

    def __call__(self, _logger: object, _method: str, fields: _Fields) -> str:
        time, level = str(fields.pop("timestamp")), str(fields.pop("level"))
        event, traceback = printable(str(fields.pop("event"))), fields.pop("exception", "")
        head = [(time, paint(time, "dim", self._out))]
        if level != "info":
            head.append((level, paint(level, _LEVELS[level], self._out)))
        words = [*head, (event, paint(event, "bold", self._out))]
        for name, value in fields.items():
            said = printable(_said(value)).replace("\n", "\\n")
            words.append((f"{name}={said}", f"{paint(f'{name}=', 'dim', self._out)}{said}"))
        return "\n".join([*self._lines(words), *([printable(traceback)] if traceback else [])])

    def _lines(self, words: Sequence[tuple[str, str]]) -> Iterator[str]:
        """Put as many words on a line as fit; each comes with its colours."""
        most = self._columns() if self._columns else sys.maxsize
        line, length = "", 0
        for plain, painted in words:
            if line and length + 1 + len(plain) > most:
                yield line
                line, length = " " * _INDENT, _INDENT
            line, length = f"{line} {painted}" if line else painted, length + 1 + len(plain)
        yield line


def _said(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(_said, value)) or "none"
    text = str(value)
    return f'"{text}"' if " " in text or not text else text


def _as_json(_logger: object, _method: str, fields: _Fields) -> str:
    first = {name: fields.pop(name, None) for name in ("timestamp", "level", "event")}
    line = {**first, **fields}
    try:
        return orjson.dumps(line, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # integers over 64 bits or lone surrogates; a log line must never fail
        return json.dumps(line, default=_plain, skipkeys=True)


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset):
        return list(value)
    return str(value)


class _Out:
    """Writes lines. A log that cannot be written must not stop an invalidation, and a pipe that
    nobody reads would: then lines are dropped, and counted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ready = _readiness(stream)
        self._cut = False  # the last line was not written to its end

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            if self._ready is None:
                self._stream.write(line + "\n")
                self._stream.flush()
            elif not self._write(f"{line}\n".encode(errors="backslashreplace")):
                _count_dropped()

    def _write(self, line: bytes) -> bool:
        """Write in pieces that a pipe takes whole once it is ready for any; return whether all
        of them were written."""
        assert self._ready
        line = b"\n" + line if self._cut else line
        for at in range(0, len(line), select.PIPE_BUF):
            if not self._ready.poll(0):
                self._cut = self._cut or at > 0
                return False
            os.write(self._stream.fileno(), line[at : at + select.PIPE_BUF])
        self._cut = False
        return True

    debug = info = warning = error = critical = exception = msg


def _readiness(stream: TextIO) -> "select.poll | None":
    """Return a poll that shows whether a write would wait; None if it is no file."""
    try:
        number = stream.fileno()
        stream.flush()
    except (OSError, ValueError):
        return None
    ready = select.poll()
    ready.register(number, select.POLLOUT)
    return ready


def _count_dropped() -> None:
    from invalidator.runtime import metrics  # most verbs never need it

    metrics.LOG_DROPPED.inc()


class Repeats:
    """Suppresses repetitions of a message for a while, and counts them."""

    def __init__(self, clock: Callable[[], float], quiet: float = QUIET_SECONDS) -> None:
        self._clock = clock
        self._quiet = quiet
        self._seen: dict[object, tuple[float, int]] = {}  # message -> (logged at, suppressed since)

    def admit(self, message: object) -> int | None:
        """Return how many were suppressed since the last one, or None to suppress this one too."""
        now = self._clock()
        said, suppressed = self._seen.get(message, (now - self._quiet, 0))
        if now - said < self._quiet:
            self._seen[message] = (said, suppressed + 1)
            return None
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[message] = (now, 0)
        return suppressed


class _Libraries(logging.Handler):
    """Hands records of the logging module to structlog."""

    def __init__(self, level: int, repeats: Repeats, *, tracebacks: bool) -> None:
        super().__init__(level)
        self._repeats = repeats
        self._tracebacks = tracebacks
        self._log = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        message = _message(record)
        template = message if record.msg == "%s" else str(record.msg)
        suppressed = self._repeats.admit((record.name, record.levelno, template))
        if suppressed is None:
            return
        fields: dict[str, Any] = {"logger": record.name}
        if suppressed:
            fields["suppressed"] = suppressed
        level = logging.DEBUG if _is_client(record) else _known_level(record.levelno)
        self._log.log(level, message, **fields, **self._why(record))

    def _why(self, record: logging.LogRecord) -> dict[str, Any]:
        if not record.exc_info or record.exc_info[1] is None:
            return {}
        if self._tracebacks or not _is_unavailable(record, record.exc_info[1]):
            return {"exc_info": record.exc_info}
        error = record.exc_info[1]
        return {"error": f"{type(error).__name__}: {error}"}


def _is_unavailable(record: logging.LogRecord, error: BaseException) -> bool:
    """Return true unless it is a bug of ours, which asyncio reports in the same way."""
    return _is_client(record) or isinstance(error, OSError)


def _is_client(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] in _CLIENTS


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().strip()
    except (TypeError, ValueError):  # the arguments do not fit the template
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
    # The handler's own level applies even if something sets a library's logger to DEBUG.
    root.addHandler(_Libraries(level, Repeats(clock), tracebacks=debug))
    root.setLevel(level)
    logging.captureWarnings(True)
