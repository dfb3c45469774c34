"""What a team would run instead, each as its author would write it, and what is possible.

A contender is a process. It says `assigned` on stderr once it has its partitions, and takes its
arguments in one order: bootstrap servers, topic, group, Redis URL.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks import workload
from benchmarks.servers import Servers
from benchmarks.workload import Variant
from tests.e2e.process import PROGRAM, clean_environment

HERE = Path(__file__).parent
DAEMON = os.environ.get("BENCH_DAEMON") or str(PROGRAM)  # `make bench` installs one by itself
OURS = "invalidator"


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is to read."""

    servers: Servers
    topic: str
    group: str
    variant: Variant
    events: int
    folder: Path  # for its files

    def arguments(self) -> list[str]:
        on = self.servers
        return [on.kafka.bootstrap, self.topic, self.group, on.redis_url]


@dataclass(frozen=True, slots=True)
class Command:
    """How its process is started."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ready: bytes = b"assigned"  # what stands on its stderr when it has its partitions


@dataclass(frozen=True, slots=True)
class Contender:
    letter: str
    name: str
    command: Callable[[Task], Command]
    missing: Callable[[], str] = lambda: ""  # why it cannot run here
    fewer: int = 1  # times: so slow that it gets a topic of fewer events
    every_variant: bool = False  # knows all of them; the others only what does not change names


def _python(module: str, task: Task, *more: str) -> Command:
    name = f"benchmarks.contenders.{module}"
    return Command([sys.executable, "-m", name, *task.arguments(), *more])


def _daemon(task: Task) -> Command:
    settings = {
        "RULES": str(workload.write_rules(task.folder, task.variant)),
        "REDIS_URL": task.servers.redis_url,
        "KAFKA__BOOTSTRAP_SERVERS": task.servers.kafka.bootstrap,
        "KAFKA__TOPICS": task.topic,
        "KAFKA__GROUP_ID": task.group,
        "KAFKA__START": "earliest",
        "ADMIN__PORT": "0",
    }
    return Command([DAEMON, "run"], clean_environment(settings))


def _bento(config: str) -> Callable[[Task], Command]:
    def command(task: Task) -> Command:
        names = ("KAFKA", "TOPIC", "GROUP", "REDIS")
        environment = {**os.environ, **dict(zip(names, task.arguments(), strict=True))}
        path = str(HERE / "bento" / config)
        return Command([_found("bento"), "-c", path], environment, ready=b"Input type kafka")

    return command


def _found(program: str) -> str:
    return shutil.which(program) or program


def _without(program: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(program) else f"no {program} on PATH"


def _without_module(module: str) -> Callable[[], str]:
    missing = f"{module} is not installed (make bench installs it)"
    return lambda: "" if find_spec(module) else missing


GO = HERE / "go"
BUILT = HERE.parents[1] / ".cache" / "benchmarks" / "consumer"


def _without_go() -> str:
    """Go's own cache makes a second build a matter of a moment."""
    if not shutil.which("go"):
        return "no go on PATH"
    built = subprocess.run(
        ["go", "build", "-o", str(BUILT), "."], cwd=GO, capture_output=True, text=True, check=False
    )
    return f"go build: {built.stderr.strip().splitlines()[-1]}" if built.returncode else ""


CONTENDERS: Mapping[str, Contender] = {
    contender.letter: contender
    for contender in (
        Contender(
            "a",
            "aiokafka getmany alone",
            lambda task: _python("getmany", task, str(task.events + workload.PARTITIONS)),
        ),
        Contender("b", "hand-written", lambda task: _python("handwritten", task)),
        Contender("c", "a delete per key", lambda task: _python("per_key", task), fewer=50),
        Contender(
            "d",
            "FastStream",
            lambda task: _python("with_faststream", task),
            missing=_without_module("faststream"),
            fewer=50,
        ),
        Contender("e", "Bento", _bento("simple.yaml"), missing=_without("bento"), fewer=4),
        Contender("f", "Bento, tuned", _bento("tuned.yaml"), missing=_without("bento")),
        Contender(
            "g",
            "Go: franz-go, go-redis",
            lambda task: Command([str(BUILT), *task.arguments()]),
            missing=_without_go,
        ),
        Contender("h", OURS, _daemon, every_variant=True),
        Contender("i", "prototype", lambda task: _python("prototype", task)),
    )
}

# Beside whom latency is measured.
BARE = Contender("", "bare consumer", lambda task: _python("bare", task))
