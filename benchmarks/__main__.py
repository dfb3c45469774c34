"""python -m benchmarks: the comparison that counts, then latency. Others: benchmarks.NAME.

With options it is `benchmarks.throughput` alone.
"""

import sys

from benchmarks import latency, throughput

throughput.main()
if len(sys.argv) == 1:
    latency.main()
