"""The daemon runs under exactly the permissions that docs/redis-contract.md grants, and says what
it lacks where one of them is left out."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import invalidator
from tests.backends import until_sync
from tests.backends.redis_server import RedisServer
from tests.conftest import StartRedis
from tests.e2e.process import PROGRAM, DaemonProcess, clean_environment
from tests.integration.piping import dead_letters, event, looking, run

if TYPE_CHECKING:
    import redis

PAGE = (Path(invalidator.__file__).parent.parent / "docs" / "redis-contract.md").read_text()
SECTION = PAGE.partition("## Permissions")[2].partition("\n## ")[0]
BLOCKS = {
    title: re.findall(r"^ACL SETUSER invalidator (.*)$", text, re.M)
    for title, text in re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", SECTION, re.M | re.S)
}
ANNOUNCING = "Announcements, on the cache's server"
NOTICING = "Detecting failovers, on the cache's server"
EVERY = [
    "Every daemon, on the cache's server",
    "Dead letters, on the state's server",
    "Pub/sub, on the source's server",
]
SHARDED = "Sharded channels, on the source's server"
NOTICES = "Notices, on the state's server"
KEEPING = "Keeping dead letters within bounds, on the state's server"
STREAMS = "Streams, on the source's server"
PATTERNS = ["Rules with patterns"]
SHARING = "Sweeps shared by a fleet, on the cache's server"
TAGS = ["Rules with tags: `set` and `sorted-set`", "Rules with tags: `stamp`"]
VERSIONS = ["Rules with versions"]
VERIFYING = ["Rules with `verify:`"]
DATABASE = ["A URL with a database number"]

RULES = """
caches:
  default: {tags: [{layout: set}, {layout: sorted-set, key: "tag:z:{tag}"}, {layout: stamp}]}
rules:
  - {name: key, on: changed, invalidate: {keys: ["order:{id}"]}}
  - {name: pattern, on: changed, invalidate: {patterns: ["order:list:{id}:*"]}, allow_broad: true}
  - {name: tag, on: changed, invalidate: {tags: ["{id}"]}}
  - {name: version, on: changed, invalidate: {versions: ["order"]}}
"""


@dataclass(frozen=True)
class Site:
    """A private server, and the user that the daemon logs in as."""

    server: RedisServer
    admin: "redis.Redis"

    def acl(self, *words: str) -> Any:
        admin: Any = self.admin  # its own signature is untyped
        return admin.execute_command("ACL", *words)

    def grant(self, titles: Sequence[str], without: str = "") -> None:
        """Grant it as a person would paste it; the daemon has to reconnect and load its scripts."""
        words = [
            word.replace(without, "") if word.strip("()") == without else word
            for word in self._words(titles)
        ]
        words = [word for word in words if word]
        self.acl("SETUSER", "invalidator", *words)
        admin: Any = self.admin
        admin.execute_command("CLIENT", "KILL", "USER", "invalidator")
        self.admin.script_flush()

    def grants(self, titles: Sequence[str]) -> list[str]:
        """Return each command, key and channel that is granted."""
        words = dict.fromkeys(word.strip("()") for word in self._words(titles))
        return [word for word in words if word[0] in "+%~&"]

    def _words(self, titles: Sequence[str]) -> list[str]:
        text = " ".join(line for title in titles for line in BLOCKS[title])
        version = str(self.admin.info("server")["redis_version"])
        old = version.startswith("6.")
        return (re.sub(r"[()]|%[RW]+(?=~)", "", text) if old else text).split()

    def url(self, database: int = 0) -> str:
        return f"redis://invalidator:change-me@{self.server.address}/{database}"

    def denied(self) -> list[str]:
        """Return what was denied, without what the client library asks on its own."""
        entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in self.acl("LOG")]
        return sorted({entry[b"object"].decode() for entry in entries} - {"client|setinfo"})


@pytest.fixture
def site(start_redis: StartRedis) -> Iterator[Site]:
    server = start_redis()
    with looking(server.url) as admin:
        yield Site(server, admin)


VERIFIED = """
caches:
  default: {tags: [{layout: set}, {layout: sorted-set, key: "tag:z:{tag}"}]}
rules:
  - name: key
    on: changed
    invalidate: {keys: ["order:{id}"], tags: ["{id}"], versions: ["order"]}
    verify: {cached: version, event: version}
"""


@pytest.mark.parametrize("titles", [[], VERIFYING], ids=["without", "with"])
def test_freshness_is_measured_under_exactly_what_the_contract_grants(
    site: Site, tmp_path: Path, titles: list[str]
) -> None:
    site.grant([*EVERY, KEEPING, NOTICES, ANNOUNCING, NOTICING, *TAGS, *VERSIONS, *titles])
    (tmp_path / "verified.yaml").write_text(VERIFIED)
    settings = {
        "RULES": str(tmp_path / "verified.yaml"),
        "FRESHNESS__SAMPLE": "1",
        "FRESHNESS__DELAYS": "500ms",
    }
    with running(site, tmp_path, "key", **settings) as daemon:
        daemon.await_ready()
        site.admin.publish("orders", event("changed", id=1, version=2))
        until_sync(lambda: daemon.settled() == 1)
        site.admin.set("order:1", b'{"version": 1}')
        site.admin.sadd("tag:1", "order:1")

        def counted(outcome: str) -> float:
            return daemon.metric("invalidator_freshness_checks_total", outcome=outcome)

        until_sync(lambda: counted("stale") + counted("fresh") + counted("unavailable") == 3)
        assert counted("stale") == (2 if titles else 0), "the key, and a member of the tag"
        assert daemon.admin("/readyz")[0] == 200
        assert daemon.stop() == 0
        if titles:
            assert site.denied() == []
        else:
            (said, *_) = daemon.events("freshness-unavailable")
            assert "permissions" in said["reason"]


@contextmanager
def running(site: Site, folder: Path, kinds: str, **settings: str) -> Iterator[DaemonProcess]:
    """Run the daemon with the rules of these kinds."""
    lines = RULES.splitlines()
    chosen = [line for line in lines if "name:" not in line or re.search(f"name: ({kinds}),", line)]
    path = folder / "rules.yaml"
    path.write_text("\n".join(chosen))
    given = {"RULES": str(path), "REDIS_URL": site.url(), "PUBSUB__CHANNELS": "orders,shop.*"}
    with closing(DaemonProcess(given | settings)) as daemon:
        yield daemon


def fill(now: "redis.Redis") -> None:
    now.mset(dict.fromkeys(["order:1", "order:list:1:a", "order:m1", "order:m2"], "stale"))
    now.sadd("tag:1", "order:m1")
    now.zadd("tag:z:1", {"order:m2": 1})
    now.set("invalidator:stamp:1", "token")


def changed() -> bytes:
    return event("changed", id=1)


@pytest.mark.parametrize(
    ("kinds", "titles", "gone"),
    [
        ("key", [], {b"order:1"}),
        ("key|pattern", [*PATTERNS, SHARING], {b"order:1", b"order:list:1:a"}),
        (
            "key|tag|version",
            TAGS + VERSIONS,
            {b"order:1", b"order:m1", b"order:m2", b"tag:1", b"tag:z:1", b"invalidator:stamp:1"},
        ),
    ],
    ids=["keys", "patterns", "tags and versions"],
)
def test_it_runs_under_exactly_what_the_contract_grants(
    site: Site, tmp_path: Path, kinds: str, titles: list[str], gone: set[bytes]
) -> None:
    site.grant([*EVERY, KEEPING, NOTICES, ANNOUNCING, NOTICING, *titles])
    fill(site.admin)
    before = set(site.admin.keys())
    with running(site, tmp_path, kinds) as daemon:
        daemon.await_ready()
        site.admin.publish("orders", changed())
        site.admin.publish("shop.eu", b"not json")
        until_sync(lambda: dead_letters(site.admin))
        until_sync(lambda: daemon.settled() == 2)
        assert daemon.stop() == 0
        assert site.denied() == []
    left = {b"cache:version:order"} if "version" in kinds else set()
    assert set(site.admin.keys()) == before - gone | left | {b"invalidator:dead"}


WRITES: list[list[str]] = [
    ["SET", "v"],
    ["GET"],
    ["XADD", "*", "f", "v"],
    ["HSET", "f", "v"],
    ["SADD", "m"],
    ["RENAMENX", "order:2"],
    ["EXPIRE", "9"],
    ["XTRIM", "MAXLEN", "0"],
    ["DEL"],
]


def test_no_line_lets_the_daemon_do_more_to_the_cache_than_delete(site: Site) -> None:
    if str(site.admin.info("server")["redis_version"]).startswith("6."):
        pytest.skip("Redis 6 cannot keep them apart")
    others = [title for title, lines in BLOCKS.items() if "reset" not in " ".join(lines)]
    site.grant([EVERY[0], *others])

    def allowed(*words: str) -> bool:
        return site.acl("DRYRUN", "invalidator", *words) in (b"OK", "OK")

    assert allowed("UNLINK", "order:1", "invalidator:stamp:1")
    for command, *words in WRITES:
        for key in ("order:1", "invalidator:probe", "invalidator:stamp:1", "other"):
            assert not allowed(command, key, *words), (command, key)
    assert not allowed("EVALSHA", "0" * 40, "1", "order:1")
    for key, commands in {
        "other": ["UNLINK", "EXISTS"],
        "invalidator:dead": ["UNLINK", "SET", "GET"],
        "invalidator:place:a": ["UNLINK", "SADD"],
        "invalidator:offsets:a": ["UNLINK", "SET", "GET"],
        "cache:version:a": ["UNLINK", "SADD"],
        "tag:a": ["GET", "SET", "XADD"],
        "orders": ["XADD", "UNLINK", "GET"],
    }.items():
        for command in commands:
            words = next((more for name, *more in WRITES if name == command), [])
            assert not allowed(command, key, *words), (command, key)
    for command, *words in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["SHUTDOWN"]):
        assert not allowed(command, *words), command


def test_without_announcements_it_continues_and_logs_that_once(site: Site, tmp_path: Path) -> None:
    site.grant([*EVERY, KEEPING, NOTICES, NOTICING])
    fill(site.admin)
    with running(site, tmp_path, "key") as daemon:
        daemon.await_ready()
        (said,) = until_sync(lambda: daemon.events("not-announced"))
        assert "permissions" in said["reason"]
        site.admin.publish("orders", changed())
        until_sync(lambda: not site.admin.exists("order:1"))
        assert daemon.stop() == 0
    with running(site, tmp_path, "key", ANNOUNCE="never") as daemon:
        daemon.await_ready()
        site.acl("LOG", "RESET")
        assert daemon.stop() == 0
        assert not daemon.events("not-announced")
        assert site.denied() == []


def test_without_shared_sweeps_it_sweeps_alone_and_logs_that_once(
    site: Site, tmp_path: Path
) -> None:
    site.grant([*EVERY, KEEPING, ANNOUNCING, NOTICING, *PATTERNS])
    with running(site, tmp_path, "pattern") as daemon:
        daemon.await_ready()
        for _ in range(2):
            fill(site.admin)
            site.admin.publish("orders", changed())
            until_sync(lambda: not site.admin.exists("order:list:1:a"))
        assert len(daemon.events("sweeps-not-shared")) == 1
        assert daemon.stop() == 0


def test_sharded_channels_need_one_permission_more(site: Site, tmp_path: Path) -> None:
    site.grant([*EVERY[:2], ANNOUNCING, NOTICING, KEEPING, NOTICES, SHARDED])
    fill(site.admin)
    settings = {"PUBSUB__CHANNELS": "", "PUBSUB__SHARDED_CHANNELS": "orders"}
    with running(site, tmp_path, "key", **settings) as daemon:
        daemon.await_ready()
        run(site.admin, "SPUBLISH", "orders", changed())
        until_sync(lambda: not site.admin.exists("order:1"))
        assert daemon.stop() == 0
        assert site.denied() == []


def test_a_dry_run_may_only_look(site: Site, tmp_path: Path) -> None:
    site.grant(["A dry run"])
    site.acl("SETUSER", "invalidator", "+subscribe", "+psubscribe", "&orders", "&shop.*")
    fill(site.admin)
    before = set(site.admin.keys())
    with running(site, tmp_path, "key|pattern|tag|version", DRY_RUN="true") as daemon:
        daemon.await_ready()
        site.admin.publish("orders", changed())
        until_sync(lambda: daemon.events("flow"))
        assert daemon.stop() == 0
        assert site.denied() == []
    assert set(site.admin.keys()) == before


@pytest.mark.parametrize(
    ("more", "counted"), [([], "cannot be counted"), (["`invalidator purge`"], "1 in its set")]
)
def test_a_person_may_purge_whatever_the_daemon_may_delete(
    site: Site, tmp_path: Path, more: list[str], counted: str
) -> None:
    site.grant([EVERY[0], ANNOUNCING, *PATTERNS, *TAGS, *VERSIONS, *more])
    fill(site.admin)
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    words = ["--key", "order:1", "--tag", "1", "--version", "order", "--pattern", "order:list:*"]
    done = subprocess.run(
        [PROGRAM, "purge", *words, "--why", "OPS-12", "--yes"],
        env=clean_environment({"REDIS_URL": site.url(), "RULES": str(path)}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert counted in done.stdout
    assert set(site.admin.keys()) == {b"cache:version:order"}


STREAM_RULES = """
rules:
  - {name: key, on: changed, invalidate: {keys: ["order:{id}"]}, repeat_after: 2s}
"""


def test_streams_are_read_under_exactly_what_the_contract_grants(
    site: Site, tmp_path: Path
) -> None:
    site.grant([*EVERY[:2], KEEPING, NOTICES, ANNOUNCING, NOTICING, STREAMS])
    site.acl("SETUSER", "invalidator", "(+xtrim %RW~orders)")
    site.admin.set("order:1", "stale")
    site.admin.xgroup_create("orders", "invalidator", mkstream=True)
    site.admin.xadd("orders", {"event": changed()})
    site.admin.xreadgroup("invalidator", "invalidator-1", {"orders": ">"})  # died, and is back
    path = tmp_path / "rules.yaml"
    path.write_text(STREAM_RULES)
    settings = {"RULES": str(path), "REDIS_URL": site.url(), "STREAMS__KEYS": "orders"}
    more = {"STREAMS__CONSUMER": "invalidator-1", "STREAMS__TRIM": "true"}
    with closing(DaemonProcess(settings | more | {"STREAMS__CLAIM_AFTER": "1s"})) as daemon:
        daemon.await_ready()
        until_sync(lambda: daemon.events("flow"))
        pending: Any = site.admin.xpending("orders", "invalidator")
        assert pending["pending"] == 0
        for used in ("xclaim", "xautoclaim", "xack", "xtrim"):
            assert f"cmdstat_{used}" in site.admin.info("commandstats")
        site.admin.xgroup_destroy("orders", "invalidator")
        until_sync(lambda: daemon.events("stream-group-created"))
        assert daemon.stop() == 0
        assert site.denied() == []
    for words in (
        ("EVAL", "return 0", "1", "orders"),
        ("XGROUP", "DELCONSUMER", "orders", "g", "c"),
    ):
        assert site.acl("DRYRUN", "invalidator", *words) in (b"OK", "OK")


def test_a_missing_permission_is_named(site: Site, tmp_path: Path) -> None:
    titles = EVERY + DATABASE + PATTERNS + TAGS + VERSIONS
    site.grant(titles)
    site.admin.select(1)
    unsaid = []
    with running(site, tmp_path, "key|pattern|tag|version", REDIS_URL=site.url(1)) as daemon:
        for lacking in site.grants(titles):
            daemon.await_ready()
            site.admin.flushdb()
            fill(site.admin)
            site.grant(titles, without=lacking)
            try:
                until_sync(partial(_says, site, daemon, told_of(lacking)))
            except AssertionError as error:
                unsaid.append(f"{lacking}: {error}")
            site.grant(titles)
        daemon.await_ready()
    assert unsaid == []


@pytest.mark.parametrize("lacking", BLOCKS[ANNOUNCING][0].split())
def test_it_continues_where_it_may_not_announce(site: Site, tmp_path: Path, lacking: str) -> None:
    site.grant([*EVERY, ANNOUNCING], without=lacking)
    with running(site, tmp_path, "key") as daemon:
        daemon.await_ready()
        (said,) = until_sync(lambda: daemon.events("not-announced"))
        assert re.search(told_of(lacking), said["reason"])
        fill(site.admin)
        site.admin.publish("orders", changed())
        until_sync(lambda: not site.admin.exists("order:1"))


@pytest.mark.parametrize("lacking", BLOCKS[NOTICING][0].split())
def test_it_continues_where_it_may_not_notice_a_failover(
    site: Site, tmp_path: Path, lacking: str
) -> None:
    site.grant([*EVERY, NOTICING], without=lacking)
    with running(site, tmp_path, "key") as daemon:
        daemon.await_ready()
        fill(site.admin)
        site.admin.publish("orders", changed())
        until_sync(lambda: not site.admin.exists("order:1"))
        (said,) = until_sync(lambda: daemon.events("failover-detection-off"))
        assert re.search(told_of(lacking), said["reason"])
        assert daemon.stop() == 0


def told_of(grant: str) -> str:
    """Return what an operator has to read."""
    if grant.startswith("+"):
        return rf"\b{re.escape(grant[1:])}\b"
    return "channels" if grant.startswith("&") else "permissions to access|can't access"


def _says(site: Site, daemon: DaemonProcess, wanted: str) -> bool:
    """Make it do everything, and return whether it names what is wanted."""
    site.admin.publish("orders", changed())
    site.admin.publish("orders", b"not json")
    status, said = daemon.admin("/readyz")
    letters = [letter["message"] for letter in dead_letters(site.admin)]
    return status != 0 and bool(re.search(wanted, "\n".join([said, *letters]), re.I))
