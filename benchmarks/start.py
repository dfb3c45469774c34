"""How long the command line takes to answer, and the daemon to be ready with its servers up.

python -m benchmarks.start [--quick]
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import report, workload
from benchmarks.contenders import DAEMON
from benchmarks.options import sizes
from benchmarks.servers import Servers, servers
from tests.backends.kafka_client import unique
from tests.e2e.process import DaemonProcess

VERBS = (["--help"], ["--version"], ["settings"], ["check", "rules.yaml"])


def answered(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([DAEMON, *words], check=True, capture_output=True)
    return time.perf_counter() - begun


def ready(settings: dict[str, str]) -> float:
    begun = time.perf_counter()
    with closing(DaemonProcess(settings, command=[DAEMON, "run"])) as daemon:
        daemon.await_ready()
        return time.perf_counter() - begun


def measure(title: str, rounds: int, seconds: Callable[[], float]) -> None:
    took = sorted(seconds() for _ in range(rounds))
    print(f"{title:32} {median(took):6.3f} s  ({took[0]:.3f} to {took[-1]:.3f})", flush=True)


@contextmanager
def daemons(on: Servers) -> Iterator[dict[str, dict[str, str]]]:
    """Their settings, by where they read."""
    with TemporaryDirectory() as folder:
        rules = str(workload.write_rules(Path(folder), workload.VARIANTS["plain"]))
        usual = {"RULES": rules, "REDIS_URL": on.redis_url}
        yield {
            "pub/sub": {**usual, "PUBSUB__CHANNELS": "events"},
            "Kafka": {
                **usual,
                "KAFKA__BOOTSTRAP_SERVERS": on.kafka.bootstrap,
                "KAFKA__TOPICS": on.kafka.topic(),
            },
        }


def main(words: Sequence[str] | None = None) -> None:
    rounds = sizes(__doc__, words, rounds=(15, 1)).rounds
    print(report.machine(), flush=True)
    for verb in VERBS:
        measure(f"invalidator {' '.join(verb)}", rounds, lambda verb=verb: answered(verb))  # type: ignore[misc]
    with servers() as on, daemons(on) as known:
        for source, settings in known.items():
            measure(
                f"run, until ready, from {source}",
                rounds,
                lambda settings=settings: ready({**settings, "KAFKA__GROUP_ID": unique("start")}),  # type: ignore[misc]
            )


if __name__ == "__main__":
    main()
