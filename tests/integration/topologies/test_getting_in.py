"""Certificates, users and passwords, on each topology."""

import contextlib
import shutil
from pathlib import Path
from urllib.parse import urlencode

import pytest
import redis as library
from redis.exceptions import RedisError

from invalidator.redisclient import Client, client, converse
from tests.backends import until
from tests.backends.certificates import Certificates, make_certificates
from tests.backends.choose import missing
from tests.backends.redis_sentinel import SERVICE
from tests.backends.redis_tls import client_options, server_config
from tests.conftest import StartCluster, StartRedis, StartSentinel
from tests.e2e.test_permissions import (
    ANNOUNCING,
    BLOCKS,
    EVERY,
    KEEPING,
    NOTICES,
    PATTERNS,
    TAGS,
    VERSIONS,
)
from tests.e2e.test_permissions import RULES as PERMITTED
from tests.integration.piping import event, piping, rules_from

ON_CLUSTER = "A cluster, on each of its nodes"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not shutil.which("openssl"):
        missing("no certificates: install openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


async def works(redis: Client) -> None:
    keys = [f"k{n}" for n in range(20)]
    assert await converse(redis, [("SET", key, "x") for key in keys]) == [b"OK"] * 20


async def refused(url: str, tls: dict[str, str] | None = None) -> str:
    async with client(url, 10.0, tls) as redis:
        with pytest.raises((RedisError, OSError)) as error:
            await works(redis)
    return str(error.value)


async def test_certificates_on_both_sides(
    start_redis: StartRedis, certificates: Certificates
) -> None:
    config = server_config(certificates)
    port = start_redis(config=config).config["tls-port"]
    url = f"rediss://127.0.0.1:{port}/0"
    options = client_options(certificates)
    async with client(f"{url}?{urlencode(options)}", 10.0) as redis:
        await works(redis)
    async with client(url, 10.0, options) as redis:  # as the settings give them
        await works(redis)
    assert "certificate verify failed" in await refused(url)
    # Only we would know the other: the server hangs up on who shows no certificate.
    assert await refused(url, {"ssl_ca_certs": options["ssl_ca_certs"]})
    gone = options | {"ssl_certfile": "/nowhere/client.crt"}
    assert "/nowhere/client.crt" in await refused(url, gone)


async def test_a_port_of_the_other_kind_says_so(
    start_redis: StartRedis, certificates: Certificates
) -> None:
    server = start_redis(config=server_config(certificates))
    secured = f"127.0.0.1:{server.config['tls-port']}"
    said = f"{secured} closed the connection: it may require TLS (rediss://)"
    assert await refused(f"redis://{secured}/0") == said
    plain = f"rediss://127.0.0.1:{server.port}/0"
    async with client(plain, 1.0, client_options(certificates)) as redis:
        with pytest.raises(RedisError, match=r"within 1 s; a port without TLS does not answer"):
            await works(redis)


async def test_certificates_that_were_replaced_are_read_again(
    start_redis: StartRedis, certificates: Certificates, tmp_path: Path
) -> None:
    config = server_config(certificates)
    port = start_redis(config=config).config["tls-port"]
    ours = Path(shutil.copy(certificates.stranger.certificate, tmp_path / "client.crt"))
    options = client_options(certificates) | {"ssl_certfile": str(ours)}
    async with client(f"rediss://127.0.0.1:{port}/0", 10.0, options) as redis:
        with pytest.raises(RedisError, match=r"client\.crt.*cannot be used"):  # not of this key
            await works(redis)
        shutil.copy(certificates.client.certificate, ours)
        await works(redis)


async def test_certificates_on_a_cluster(
    start_cluster: StartCluster, certificates: Certificates
) -> None:
    cluster = start_cluster(3, 0, certificates=certificates)
    async with client(cluster.url, 10.0, client_options(certificates)) as redis:
        await works(redis)


async def test_certificates_and_passwords_of_sentinels_and_of_what_they_watch(
    start_sentinel: StartSentinel, certificates: Certificates, tmp_path: Path
) -> None:
    watched = start_sentinel(
        {"requirepass": "swordfish", "masterauth": "swordfish"},
        say=[f"auth-pass {SERVICE} swordfish", "sentinel-pass watchword"],
        sentinel_config={"requirepass": "watchword"},
        certificates=certificates,
    )
    (tmp_path / "password").write_text("watchword\n")
    tls = client_options(certificates)
    url = watched.url_as(":swordfish")
    async with client(f"{url}?sentinel_password=watchword", 10.0, tls) as redis:
        await works(redis)
    async with client(f"{url}?sentinel_password_file={tmp_path}/password", 10.0, tls) as redis:
        await works(redis)
    assert "invalid username-password" in await refused(f"{url}?sentinel_password=x", tls)
    assert "Authentication required" in await refused(url, tls)


async def test_a_user_with_a_password_from_a_file_that_changes(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis(config={"user": "daemon on >first ~* &* +@all"})
    file = tmp_path / "password"
    url = f"redis://daemon@{server.address}/0?password_file={file}"
    assert f"the password file {file} cannot be read" in await refused(url)
    file.write_text("wrong")
    assert "invalid username-password pair" in await refused(url)
    file.write_text("first\n")
    async with client(url, 10.0) as redis:
        await works(redis)
        with library.Redis(port=server.port) as admin:
            admin.acl_setuser("daemon", enabled=True, passwords=["+second", "-first"])
            file.write_text("second\n")
            admin.client_kill_filter(_type="normal", skipme=True)
        with contextlib.suppress(RedisError):  # that the link was cut may show only now
            await works(redis)
        await works(redis)


async def test_a_user_of_a_cluster(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3, 0, config={"user": "daemon on >a/b@c ~* &* +@all"})
    async with client(cluster.url_as("daemon:a%2Fb%40c"), 10.0) as redis:
        await works(redis)
    said = await refused(cluster.url_as("daemon:hunter2"))
    assert "invalid username-password pair" in said
    assert "hunter2" not in said


async def test_the_documented_permissions_are_enough_on_a_cluster(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(3, 0)
    granted = [*EVERY, ANNOUNCING, KEEPING, NOTICES, *PATTERNS, *TAGS, *VERSIONS, ON_CLUSTER]
    words = " ".join(line for title in granted for line in BLOCKS[title]).split()
    for number in range(3):
        cluster.ask(number, "ACL", "SETUSER", "invalidator", *words, "+cluster|nodes", "+scan")
    cluster.put(["order:1", "order:list:1:a"])
    cluster.admins[cluster.owner("tag:1")].sadd("tag:1", "order:1")
    url = cluster.url_as("invalidator:change-me")
    async with piping(rules_from(PERMITTED, tmp_path), url, timeout=2.0) as bench:
        bench.source.publish(event("changed", id=1), b"no event")
        await until(lambda: bench.source.settled == 2)
    denied = {entry["object"] for n in range(3) for entry in cluster.admins[n].acl_log()}
    assert denied <= {"client|setinfo"}
    assert cluster.keys() == 2  # the version and the dead letter
