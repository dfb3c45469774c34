"""The line that says how far long work is."""

import io

from invalidator.cli.meter import Meter
from invalidator.once import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_is_kept_up_to_date_and_cleared() -> None:
    out, now = Terminal(), [0.0]
    meter = Meter(out, lambda: now[0])
    for second in (0, 0.05, 2):
        now[0] = second
        meter(Progress(total=4000, settled=int(second * 1000), rejected=int(second)))
    meter.end()
    assert out.getvalue().split("\r\x1b[K") == [
        "",
        "[....................] 0 of 4,000 events",
        "[##########..........] 2,000 of 4,000 events, 1,000/s, 2 rejected",
        "",
    ]


def test_elsewhere_a_line_says_it_now_and_then() -> None:
    out, now = io.StringIO(), [0.0]
    meter = Meter(out, lambda: now[0])
    for second in range(8):
        now[0] = second
        meter(Progress(settled=second * 10))
    meter.end()
    assert out.getvalue() == "50 events, 10/s\n"
