"""Jars that Maven fetches once, for whoever comes first."""

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "kafka"


def jars_of(pom: Path) -> Path:
    """Return the folder for the jars of a pom.xml: a changed one needs another folder."""
    return CACHE / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]


def fetch_jars(pom: Path) -> Path:
    """Return the folder of a pom.xml's jars, and fill it where that was not done yet."""
    jars = jars_of(pom)
    if jars.exists():
        return jars
    with _alone():
        if not jars.exists():
            _download(pom, jars)
    return jars


def _download(pom: Path, jars: Path) -> None:
    partial = jars.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    subprocess.run(
        ["mvn", "-q", "-B", "-f", str(pom), *copy, f"-DoutputDirectory={partial}"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    partial.rename(jars)


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes of the test run from doing the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
