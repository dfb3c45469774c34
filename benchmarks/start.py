"""How long the command line takes to answer.

python -m benchmarks.start
"""

import subprocess
import sys
import time
from statistics import median

ROUNDS = 15
VERBS = (["--help"], ["--version"], ["settings"], ["check", "rules.yaml"])


def seconds(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "invalidator", *words], check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    for words in VERBS:
        took = sorted(seconds(words) for _ in range(ROUNDS))
        print(
            f"invalidator {' '.join(words):18} {median(took):6.3f} s  "
            f"({took[0]:.3f} to {took[-1]:.3f})"
        )


if __name__ == "__main__":
    main()
