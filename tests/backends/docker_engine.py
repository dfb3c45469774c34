"""A Docker engine: the one that answers, or one of our own; and an image with Python in it.

No registry need be reachable. The base of our image is then a stand-in, made of Debian's packages
by debootstrap: of the same Debian, whose own Python is 3.13 as well.
"""

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.backends.waiting import until_sync

STAND_IN = "invalidator-test-base:trixie"
PACKAGES = "python3,python3-venv,ca-certificates"
# How this machine reaches package indexes is for the stand-in as well.
FROM_HERE = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


class Engine:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def docker(self, *words: str, timeout: float = 120) -> str:
        done = self.attempt(*words, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def attempt(self, *words: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def answers(self) -> bool:
        return self.attempt("version", "--format", "{{.Server.Version}}").returncode == 0

    def inspect(self, what: str) -> Any:
        return json.loads(self.docker("inspect", what))[0]

    def has(self, image: str) -> bool:
        return self.attempt("image", "inspect", image).returncode == 0


@contextmanager
def engine(folder: Path) -> Iterator[Engine | str]:
    """Yield an engine that answers, or the reason why there is none. What we start ends with us."""
    if shutil.which("docker") is None:
        yield "there is no docker: Debian's package docker.io has it"
        return
    given = Engine(os.environ | {"DOCKER_BUILDKIT": "0"})
    if given.answers():
        yield given
    elif shutil.which("dockerd") is None or os.getuid() != 0:
        yield "no Docker engine answers, and we cannot start one (dockerd, as root)"
    else:
        with _own(folder) as found:
            yield found


@contextmanager
def _own(folder: Path) -> Iterator[Engine | str]:
    socket = f"unix://{folder}/docker.sock"
    command = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "-H", socket]
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
    command += [f"--{option}={folder / name}" for option, name in places.items()]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    found = Engine(os.environ | {"DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"})
    try:
        until_sync(lambda: found.answers() or process.poll() is not None, what="dockerd answers")
        if process.poll() is None:
            yield found
        else:
            last = (folder / "dockerd.log").read_text().splitlines()[-1:]
            yield f"dockerd does not start here: {''.join(last)}"
    finally:
        process.terminate()
        process.wait(60)
        for left in (folder / "exec" / "netns").glob("*"):  # nobody could remove the folder
            subprocess.run(["umount", str(left)], check=False)
        shutil.rmtree(folder / "data", ignore_errors=True)


def python_image(engine: Engine, wanted: str, folder: Path) -> str:
    """Return the image that ours is built on, a stand-in where it cannot be pulled, or why not."""
    if given := os.environ.get("TEST_PYTHON_IMAGE"):
        return given
    if engine.has(wanted) or engine.attempt("pull", "--quiet", wanted, timeout=300).returncode == 0:
        return wanted
    if not engine.has(STAND_IN):
        _import_stand_in(engine, folder)
    return STAND_IN


def _import_stand_in(engine: Engine, folder: Path) -> None:
    root = folder / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(root)]
    subprocess.run([*command, *_mirror()], check=True, capture_output=True, timeout=1800)
    (root / "usr" / "bin" / "python").symlink_to("python3")
    for path in FROM_HERE:
        if Path(path).exists():
            shutil.copyfile(path, root / path.lstrip("/"))
    archive = folder / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".", filter=lambda entry: None if "/var/cache/apt/" in entry.name else entry)
    engine.docker("import", str(archive), STAND_IN, timeout=600)
    archive.unlink()
    shutil.rmtree(root)


def _mirror() -> list[str]:
    """Return this machine's mirror of Debian packages if it names one, else the usual one."""
    more = Path("/etc/apt/sources.list.d")
    for path in [Path("/etc/apt/sources.list"), *more.glob("*.list"), *more.glob("*.sources")]:
        text = path.read_text() if path.is_file() else ""
        said = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        for part in said.split("\n\n" if path.suffix == ".sources" else "\n"):
            if "main" in part.split() and re.search(r"\b(bookworm|trixie)\b", part):
                return [word for word in part.split() if "://" in word][:1]
    return []
