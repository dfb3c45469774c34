"""`invalidator run` as it is installed, with gauges: GAUGES ARGUMENTS..."""

import sys
from pathlib import Path

from tests.faults.gauges import Gauges
from tests.faults.inside import watched


def main() -> int:
    _, gauges, *arguments = sys.argv
    sys.argv = ["invalidator", *arguments]
    watched.watch(Gauges(Path(gauges)))
    from invalidator.cli import main as invalidator

    return invalidator()


if __name__ == "__main__":
    sys.exit(main())
