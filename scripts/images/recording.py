"""Record docs/images/recording.svg: `publish` and `tail` beside a running daemon, as they print.

python -m scripts.images.recording (needs redis-server; `.venv` is that of the tests)
"""

import os
import pty
import re
import select
import shlex
import subprocess
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path

from tests.backends.choose import redis_backend
from tests.e2e.process import PROGRAM, DaemonProcess, clean_environment

TOP = Path(__file__).parents[2]
PICTURE = TOP / "docs" / "images" / "recording.svg"
Line = tuple[float, str]  # the second at which it was printed, and its text
COLUMNS, WITHIN = 80, 30.0
COMMANDS = (
    [
        "order.updated",
        '{"orderId": "ord_1", "customerId": "c7"}',
        "--set",
        "order:single:ord_1=old",
    ],
    ["user.updated", '{"userId": 7}', "--wait"],
)
CHAR, LINE, LEFT, TOP_EDGE = 8.0, 19, 16, 46
SHOWN_WITHIN = 3.0  # seconds: nobody waits for as long as it took

STYLE = """\
<style>
  .mono { font: 13.2px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
          fill: #e4e7eb; white-space: pre; }
  .typed { font-weight: 600; fill: #ffffff; }
  .prompt { fill: #7bc47f; }
  .label { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #9aa5b1; }
  .back { fill: #1f2933; stroke: #3e4c59; }
  .dot { fill: #616e7c; }
  .line { animation: appear 0.3s both; }
  @keyframes appear { from { opacity: 0; } }
  @media (prefers-reduced-motion: reduce) { .line { animation: none; } }
</style>"""


class Terminal:
    """A program in a terminal of its own, and when it printed which line."""

    def __init__(self, words: list[str], environment: Mapping[str, str], began: float) -> None:
        self._began = began
        self.lines: list[Line] = []
        self._rest = ""
        master, slave = pty.openpty()
        size = f"stty cols {COLUMNS} rows 40 && exec"
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f'{size} "$@"', "sh", str(PROGRAM), *words],
            env=dict(environment),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._master = master

    def read(self, until: float, wanted: int | None = None) -> None:
        """Collect lines until that time, the program's end, or the wanted number of them."""
        while time.monotonic() < until and (wanted is None or len(self.lines) < wanted):
            if not select.select([self._master], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # it has ended
                return
            *whole, self._rest = (self._rest + data.decode()).split("\n")
            now = time.monotonic() - self._began
            self.lines += [(now, re.sub(r"\x1b\[[0-9;]*m|\r", "", line)) for line in whole]

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        os.close(self._master)


def record() -> tuple[list[Line], list[Line]]:
    """Return the lines of both terminals; typed ones begin with `$ `."""
    with redis_backend() as url:
        settings = {
            "REDIS_URL": url,
            "RULES": str(TOP / "rules.yaml"),
            "PUBSUB__CHANNELS": "events",
        }
        environment = clean_environment(settings) | {"NO_COLOR": "1", "TERM": "xterm"}
        daemon = DaemonProcess(settings).await_ready()
        began = time.monotonic()
        tail = Terminal(["tail"], environment, began)
        try:
            tail.read(began + 3)
            above: list[Line] = []
            for words in COMMANDS:
                above += [(time.monotonic() - began, line) for line in typed(words)]
                publish = Terminal(["publish", *words], environment, began)
                publish.read(time.monotonic() + WITHIN)
                publish.end()
                above += publish.lines
                tail.read(time.monotonic() + 2)
        finally:
            tail.end()
            daemon.stop()
            daemon.close()
    below = [(0.0, "$ invalidator tail"), *tail.lines]
    return [hidden(line, url) for line in above], [hidden(line, url) for line in below]


def typed(words: list[str]) -> list[str]:
    """Return the command as a person types it, on two lines where one is too short."""
    line = f"$ invalidator publish {shlex.join(words)}"
    if len(line) <= COLUMNS:
        return [line]
    return [f"$ invalidator publish {words[0]} \\", f"    {shlex.join(words[1:])}"]


def hidden(line: Line, url: str) -> Line:
    """Show the address that a reader would have."""
    return line[0], line[1].replace(url, "redis://127.0.0.1:6379/0")


def wrapped(lines: list[Line]) -> list[Line]:
    """Break what is longer than the terminal, as a terminal does."""
    return [
        (at, line[start : start + COLUMNS])
        for at, line in lines
        for start in range(0, max(len(line), 1), COLUMNS)
    ]


def drawn(label: str, lines: list[Line], top: int, pace: float) -> tuple[list[str], int]:
    """Return one terminal as SVG, and its height."""
    height = TOP_EDGE + LINE * len(lines) + 4
    width = LEFT * 2 + COLUMNS * CHAR
    parts = [
        f'<rect class="back" x="0.5" y="{top + 0.5}" width="{width - 1:g}" height="{height - 1}" '
        'rx="8"/>',
        *(
            f'<circle class="dot" cx="{LEFT + 6 + 16 * n}" cy="{top + 18}" r="5"/>'
            for n in range(3)
        ),
        f'<text class="label" x="{width / 2:g}" y="{top + 22}" text-anchor="middle">{label}</text>',
    ]
    for number, (at, line) in enumerate(lines):
        y = top + TOP_EDGE + LINE * number + 6
        inner = escape(line, quote=False)
        if line.startswith("$ "):
            inner = f'<tspan class="prompt">$</tspan><tspan class="typed">{inner[1:]}</tspan>'
        parts.append(
            f'<text class="mono line" style="animation-delay:{at * pace:.1f}s" x="{LEFT}" y="{y}" '
            f'xml:space="preserve">{inner}</text>'
        )
    return parts, height


def picture(left: list[Line], right: list[Line]) -> str:
    title = "invalidator publish sends two events; invalidator tail shows what they invalidate"
    pace = SHOWN_WITHIN / max(at for at, _ in left + right)
    first, height = drawn("one terminal", wrapped(left), 0, pace)
    second, more = drawn("another terminal", wrapped(right), height + 12, pace)
    width, total = LEFT * 2 + COLUMNS * CHAR, height + 12 + more
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {total}" '
        f'width="{width:g}" height="{total}" role="img" aria-label="{title}">'
    )
    return "\n".join([head, f"<title>{title}</title>", STYLE, *first, *second, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(*record()), encoding="utf-8")
