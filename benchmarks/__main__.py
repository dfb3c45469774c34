"""python -m benchmarks: the comparison that counts. Others: python -m benchmarks.NAME."""

from benchmarks.throughput import main

main()
