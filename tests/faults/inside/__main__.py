"""`invalidator run` as it is installed, with gauges: GAUGES SPOILT ARGUMENTS...

SPOILT is empty, or names a mistake of `spoilt.py`: these exist to show that the harness bites.
"""

import sys
from pathlib import Path

from tests.faults.gauges import Gauges
from tests.faults.inside import spoilt, watched


def main() -> int:
    _, gauges, mistake, *arguments = sys.argv
    sys.argv = ["invalidator", *arguments]
    watched.watch(Gauges(Path(gauges)))
    if mistake:
        spoilt.MISTAKES[mistake]()
    from invalidator.cli import main as invalidator

    return invalidator()


if __name__ == "__main__":
    sys.exit(main())
