"""The image, built from the Dockerfile and run as compose and Kubernetes run it."""

import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.backends import until_sync
from tests.backends.docker_engine import Engine, engine, python_image
from tests.backends.server import free_port
from tests.pages import TOP

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
MOST = 100 << 20  # bytes on top of the base
DOCKERFILE = (TOP / "Dockerfile").read_text()
WITHIN = 1800.0  # seconds for a build: it fetches and compiles everything


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine(tmp_path_factory.mktemp("docker")) as found:
        if isinstance(found, str):
            pytest.skip(found)
        yield found


@pytest.fixture(scope="module")
def base(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    wanted = re.search(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert wanted
    if shutil.which("debootstrap") is None and not docker.has(wanted[1]):
        pytest.skip(f"no {wanted[1]} here, and no debootstrap to make a stand-in for it")
    found = python_image(docker, wanted[1], tmp_path_factory.mktemp("base"))
    print(f"built on {found}" + ("" if found == wanted[1] else f", a stand-in for {wanted[1]}"))
    return found


@pytest.fixture(scope="module")
def image(docker: Engine, base: str) -> str:
    return built(docker, base)


def built(docker: Engine, base: str, **more: str) -> str:
    name = f"invalidator-test:{uuid.uuid4().hex[:8]}"
    given = [f"--build-arg={key}={value}" for key, value in {"PYTHON": base, **more}.items()]
    docker.docker("build", "--network", "host", *given, "-t", name, str(TOP), timeout=WITHIN)
    return name


def test_the_image_is_small_and_has_a_user(docker: Engine, base: str, image: str) -> None:
    made = docker.inspect(image)
    assert made["Config"]["User"] == "10001:10001"
    assert made["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert made["Config"]["Entrypoint"] == ["invalidator"]
    assert made["Size"] - docker.inspect(base)["Size"] < MOST


def test_a_verb_runs_without_writing_anything(docker: Engine, image: str) -> None:
    said = docker.docker("run", "--rm", "--read-only", "--network", "none", image, "--version")
    assert said.startswith("invalidator ")
    words = ["run", "--rm", "--read-only", "--network", "none", "--entrypoint", "python", image]
    missing = docker.attempt(*words, "-c", "import pip")
    assert "No module named 'pip'" in missing.stderr
    refused = docker.attempt(*words, "-c", "open('/opt/invalidator/x', 'w')")
    assert "Read-only file system" in refused.stderr


def test_an_image_with_extras_can_be_built(docker: Engine, base: str) -> None:
    image = built(docker, base, EXTRAS="otel avro aws", VERSION="1.2.3")
    words = ["run", "--rm", "--network", "none", "--entrypoint", "python", image]
    docker.docker(*words, "-c", "from invalidator.pipeline.tracing import traces; traces()")
    docker.docker(*words, "-c", "import fastavro, aws_msk_iam_sasl_signer")
    labels = docker.inspect(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"


def test_it_becomes_healthy_does_its_work_and_ends_in_order(
    docker: Engine, image: str, redis_url: str, redis_now: redis.Redis, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    shutil.copyfile(TOP / "rules.yaml", rules)
    rules.chmod(0o644)
    tmp_path.chmod(0o755)
    name = f"invalidator-{uuid.uuid4().hex[:8]}"
    settings = {
        "REDIS_URL": redis_url,
        "PUBSUB__CHANNELS": "imaged",
        "ADMIN__PORT": str(free_port()),
    }
    docker.docker(
        *("run", "--detach", "--name", name, "--network", "host", "--read-only"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *("--volume", f"{rules}:/etc/invalidator/rules.yaml:ro"),
        *(word for key, value in settings.items() for word in ("-e", f"INVALIDATOR_{key}={value}")),
        image,
    )
    try:
        until_sync(
            lambda: docker.inspect(name)["State"]["Health"]["Status"] == "healthy", 120, "healthy"
        )
        redis_now.set("user:single:7", "stale")
        until_sync(lambda: redis_now.publish("imaged", b'{"type": "none", "data": {}}'))
        redis_now.publish("imaged", b'{"type": "user.deleted", "data": {"userId": 7}}')
        until_sync(lambda: not redis_now.exists("user:single:7"))
        docker.docker("stop", "--time", "30", name)
        assert docker.inspect(name)["State"]["ExitCode"] == 0
    finally:
        docker.docker("rm", "--force", name)
