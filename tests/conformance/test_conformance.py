"""Readers in Python, Node and Go speak one protocol: the same vectors, and mixed schedules."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.driver import Driver, DriverError
from conformance.schedules import run
from tests.backends import until
from tests.backends.redis_cluster import RedisCluster
from tests.conftest import StartRedis
from tests.integration.piping import looking
from tests.pages import Page

TOP = Path(__file__).parents[2]
NODE, GO = TOP / "clients" / "node", TOP / "clients" / "go"
VECTORS = json.loads((TOP / "conformance" / "vectors.json").read_text())
SHORT, LONG = 150, 20_000
ENOUGH = 4_000  # schedules until a wrong client must have been noticed

# Each client twice, by both of its libraries, where it has two.
CLIENTS = ["python", "node ioredis", "node redis", "go goredis", "go rueidis"]


def missing(message: str) -> None:
    """Skip the test, or fail it where the clients of other languages are required."""
    if os.environ.get("REQUIRE_CLIENTS") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def node() -> Path:
    """Return the Node client with the libraries that it is tested with."""
    if not (shutil.which("node") and shutil.which("npm")):
        missing("no Node: install nodejs and npm")
    if not (NODE / "node_modules").exists():
        done = subprocess.run(["npm", "ci", "--silent"], cwd=NODE, check=False)
        if done.returncode:
            missing("npm ci has failed in clients/node")
    return NODE


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Go's driver, built."""
    if not shutil.which("go"):
        missing("no Go: install golang, 1.24 or newer")
    built = tmp_path_factory.mktemp("go") / "driver"
    words = ["go", "build", "-o", str(built), "./conformance"]
    if subprocess.run(words, cwd=GO, check=False).returncode:
        missing("go build has failed in clients/go")
    return built


@pytest.fixture
async def start(node: Path, go: Path) -> AsyncIterator[Callable[..., Any]]:
    drivers: list[Driver] = []

    async def start(name: str, url: str, folder: Path = node) -> Driver:
        language, *library = name.split()
        words = {
            "python": [sys.executable, "-m", "conformance.python_client"],
            "node": ["node", str(folder / "conformance.mjs")],
            "go": [str(go)],
        }[language]
        driver = await Driver.start(name, [*words, *library], url)
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        await driver.close()


@pytest.mark.parametrize("name", ["python", "node ioredis", "go goredis"])
async def test_vectors(start: Callable[..., Any], start_redis: StartRedis, name: str) -> None:
    client = await start(name, start_redis().url)
    for vector in VECTORS["render"]:
        asked = {"template": vector["template"], "values": vector["values"]}
        if vector.get("error"):
            with pytest.raises(DriverError):
                await client.ask("render", **asked)
        else:
            assert await client.ask("render", **asked) == vector["name"]
    for vector in VECTORS["frames"]:
        assert await client.ask("frame", **vector["frame"]) == vector["entry"]
    for vector in VECTORS["heads"]:
        assert await client.ask("head", entry=vector["entry"]) == vector["head"]


async def test_mixed_schedules_are_never_stale(
    start: Callable[..., Any], start_redis: StartRedis
) -> None:
    url = start_redis().url
    clients = [await start(name, url) for name in CLIENTS]
    _, stale = await run(clients, range(SHORT))
    assert stale == []
    assert all([await client.ask("hits") for client in clients]), "each client reads what is cached"


async def test_mixed_schedules_on_a_cluster(
    start: Callable[..., Any], cluster: RedisCluster
) -> None:
    host, port = cluster.servers[0].address.split(":")
    url = f"redis+cluster://{host}:{port}"
    clients = [await start(name, url) for name in CLIENTS]
    _, stale = await run(clients, range(SHORT // 2))
    assert stale == []
    assert all([await client.ask("hits") for client in clients]), "each client reads what is cached"


@pytest.mark.parametrize("name", CLIENTS[1:])
async def test_copies_in_memory_are_forgotten_as_announced(
    start: Callable[..., Any], start_redis: StartRedis, name: str
) -> None:
    url = start_redis().url
    client, row, seq = await start(name, url), 1, 0

    async def load() -> int:
        return row

    async def value() -> Any:
        return await client.ask("read", load, key="k", tags=["t"], versions=[])

    async def keeps() -> bool:
        """Say that the daemon lives, and return whether a read was answered from memory."""
        before = await client.ask("kept")
        announce("heartbeat")
        assert await value() == row
        return bool(await client.ask("kept") > before)

    async def is_new() -> bool:
        return bool(await value() == row)

    def announce(what: str, **more: Any) -> None:
        said = {"v": 1, "type": what, "instance": "i", "epoch": 1, "seq": seq, "time": 0, **more}
        now.publish("invalidator:applied", json.dumps(said))

    with looking(url) as now:
        await client.ask("keep")
        for kind, names in (("keys", ["k"]), ("patterns", ["[a-k]*"]), ("tags", ["t"])):
            await until(keeps, what=f"it keeps copies ({name})")
            row, seq = row + 1, seq + 1
            now.delete("k")
            announce("applied", kind=kind, names=names, cache="default")
            await until(is_new, what=f"{kind} are forgotten")
        await until(keeps)
        row, seq = row + 1, seq + 2
        now.delete("k")
        announce("applied", kind="keys", names=["another"], cache="default")
        await until(is_new, what="after a gap everything is forgotten")


@pytest.mark.parametrize("name", CLIENTS)
async def test_without_redis_loaders_are_called_and_invalidations_fail(
    start: Callable[..., Any], start_redis: StartRedis, name: str
) -> None:
    server = start_redis()
    client, row = await start(name, server.url), 1

    async def load() -> int:
        return row

    read = {"loader": load, "key": "k", "tags": ["t"], "versions": ["v"]}
    assert await client.ask("read", **read) == 1
    server.kill()
    row = 2
    assert await client.ask("read", **read) == 2
    with pytest.raises(DriverError):
        await client.ask("invalidate", names=["k"])


@pytest.mark.slow
async def test_many_mixed_schedules_are_never_stale(
    start: Callable[..., Any], start_redis: StartRedis, cluster: RedisCluster
) -> None:
    url = start_redis().url
    _, stale = await run([await start(name, url) for name in CLIENTS], range(LONG * 3 // 4))
    assert stale == []
    url = f"redis+cluster://{cluster.servers[0].address}"
    _, stale = await run([await start(name, url) for name in CLIENTS], range(LONG // 4))
    assert stale == []


MUTANTS = {
    "one token for all loads": (
        "lib/entry.js",
        'newToken = () => randomBytes(12).toString("base64url")',
        'newToken = () => "A".repeat(16)',
    ),
    "a put needs no lease": (
        "scripts/put.lua",
        "if string.sub(h, 31, 46) ~= ARGV[1] then",
        "if false then",
    ),
    "flights are joined whatever their stamps": (
        "lib/cache.js",
        "if (flight && line !== null && flight.line === line) {",
        "if (flight) {",
    ),
    "invalidating leaves the entry": ("lib/cache.js", '"UNLINK", key)));', '"EXISTS", key)));'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
async def test_a_wrong_client_is_noticed(
    start: Callable[..., Any], start_redis: StartRedis, node: Path, tmp_path: Path, name: str
) -> None:
    file, right, wrong = MUTANTS[name]
    copy = tmp_path / "node"
    shutil.copytree(node, copy, symlinks=True)
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong))
    url = start_redis().url
    clients = [await start("node ioredis", url, copy), await start("python", url)]
    for first in range(0, ENOUGH, 200):
        _, stale = await run(clients, range(first, first + 200))
        if stale:
            return
    pytest.fail(f"{ENOUGH} schedules did not notice: {name}")


def test_the_scripts_are_the_same_in_every_language() -> None:
    ours = TOP / "invalidator" / "cache" / "scripts"
    for client in (NODE, GO):
        assert {f.name: f.read_text() for f in (client / "scripts").iterdir()} == {
            f.name: f.read_text() for f in ours.glob("*.lua") if not f.name.startswith("behind_")
        }, "copy them: make clients"


def test_the_examples_run(node: Path, go: Path, start_redis: StartRedis, tmp_path: Path) -> None:
    blocks = {block.language: block.text for block in Page(TOP / "docs/other-languages.md").blocks}
    environment = {**os.environ, "REDIS_URL": start_redis().url}
    example = node / "node_modules" / ".example.mjs"
    names = 'import { Cache, publishToStream } from "invalidator-cache";'
    assert names in blocks["js"]
    database = (
        "const database = { order: async () => ({ customer: 7 }), update: async () => {} };\n"
    )
    text = blocks["js"].replace("invalidator-cache", "../index.js")
    example.write_text(f"{database}{text}\nredis.disconnect();\n")
    subprocess.run(["node", str(example)], env=environment, check=True, timeout=60)

    (tmp_path / "main.go").write_text(blocks["go"])
    for words in (
        "go mod init example",
        f"go mod edit -replace invalidator/cache={GO} -require invalidator/cache@v0.0.0",
    ):
        subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
    shutil.copy(GO / "go.sum", tmp_path / "go.sum")
    run = ["go", "run", "-mod=mod", "."]
    subprocess.run(run, cwd=tmp_path, env=environment, check=True, timeout=300)
