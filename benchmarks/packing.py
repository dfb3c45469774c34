"""What it costs to turn keys into UNLINK commands of 256, per key, before anything is sent.

python -m benchmarks.packing [--quick]
"""

import time
from collections.abc import Callable, Sequence

from hiredis import pack_command
from redis.asyncio import Redis

from benchmarks.options import sizes
from invalidator.targets.redis.keys import PER_COMMAND

KEYS = [f"order:single:ord_{number:05d}" for number in range(10 * PER_COMMAND)]


def chunks() -> list[list[str]]:
    return [KEYS[at : at + PER_COMMAND] for at in range(0, len(KEYS), PER_COMMAND)]


def by_hiredis() -> object:
    return [pack_command(("UNLINK", *chunk)) for chunk in chunks()]  # type: ignore[arg-type]  # its stub takes one item


def by_pipeline() -> object:
    pipe = LIBRARY.pipeline(transaction=False)
    for chunk in chunks():
        pipe.unlink(*chunk)
    return CONNECTION.pack_commands([command for command, _ in pipe.command_stack])


def measure(title: str, pack: Callable[[], object], rounds: int) -> None:
    best = min(timed(pack) for _ in range(rounds))
    print(f"{title:36} {best / len(KEYS) * 1e6:5.2f} µs per key")


def timed(pack: Callable[[], object]) -> float:
    began = time.perf_counter()
    pack()
    return time.perf_counter() - began


LIBRARY = Redis()
CONNECTION = LIBRARY.connection_pool.make_connection()  # type: ignore[no-untyped-call]


def main(words: Sequence[str] | None = None) -> None:
    asked = sizes(__doc__, words, rounds=(100, 1))
    measure("hiredis, as the daemon packs", by_hiredis, asked.rounds)
    measure("the client library's pipeline", by_pipeline, asked.rounds)


if __name__ == "__main__":
    main()
