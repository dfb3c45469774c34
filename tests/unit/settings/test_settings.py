"""Settings: where they come from, how they are written, what a mistake says."""

import re
from pathlib import Path

import pytest

from invalidator.errors import ConfigError
from invalidator.rules.rule import Cache
from invalidator.settings import Settings, defaults, describe, load
from invalidator.settings.caches import cache_urls, misplaced_caches


def set_all(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"INVALIDATOR_{name}", value)


def mistakes(**overrides: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(**overrides)  # type: ignore[arg-type]  # as the command line calls it
    assert refused.value.__cause__ is None
    return str(refused.value).splitlines()


def secrets(directory: Path, **files: str) -> Path:
    for name, value in files.items():
        (directory / name).write_text(value)
    return directory


# --- reading ---


def test_every_setting_has_a_default_but_no_source_is_configured() -> None:
    settings = load()
    assert settings.rules == Path("rules.yaml")
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert (settings.redis_timeout, settings.drain_timeout) == (2.0, 20.0)
    assert (settings.batch.max_events, settings.batch.max_event_bytes) == (20_000, 1 << 20)
    assert (settings.in_flight.events, settings.in_flight.bytes) == (60_000, 64 << 20)
    assert not settings.has_sources


def test_every_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        "RULES": "/etc/rules.d",
        "REDIS_URL": "redis://cache:1/1",
        "SOURCE_REDIS_URL": "redis://source:1/1",
        "STATE_URL": "redis://state:1/1",
        "REDIS_TIMEOUT": "500ms",
        "CACHES__ORDERS_EU": "redis://orders:1/1",
        "EDGE__URLS__PAGES": "http://a:6081,https://b",
        "EDGE__SECRETS__PAGES": "***",
        "EDGE__TIMEOUT": "1s",
        "EDGE__RATE": "100/min",
        "EDGE__BURST": "7",
        "ANNOUNCE": "always",
        "MAX_DELETES_PER_SECOND": "1000",
        "ALARM_DELETES": "50000",
        "REWIND": "2h",
        "KAFKA__BOOTSTRAP_SERVERS": "a:9092,[::1]:9093",
        "KAFKA__TOPICS": "orders,users",
        "KAFKA__REGISTRY__URL": "https://registry:8081",
        "KAFKA__REGISTRY__FORMAT": "apicurio",
        "KAFKA__GROUP_ID": "g",
        "RULES_LAST_GOOD": "/var/lib/last-good.json",
        "DRY_RUN": "true",
        "REDIS_TLS__CA_FILE": "/etc/ca.pem",
        "REDIS_TLS__CERT_FILE": "/etc/client.pem",
        "REDIS_TLS__KEY_FILE": "/etc/client.key",
        "REDIS_TLS__KEY_PASSWORD": "***",
        "KAFKA__START": "-1h",
        "KAFKA__SESSION_TIMEOUT": "10s",
        "KAFKA__INSTANCE_ID": "replica-1",
        "PUBSUB__CHANNELS": "events,orders.*",
        "PUBSUB__SHARDED_CHANNELS": "orders",
        "PUBSUB__BUFFER": "7",
        "HTTP__ROUTES__ORDERS": "token:***",
        "HTTP__HOST": "0.0.0.0",
        "HTTP__PORT": "8443",
        "HTTP__WAIT": "3s",
        "HTTP__BUFFER": "11",
        "HTTP__MAX_BYTES": "2MiB",
        "STREAMS__KEYS": "orders,items:eu",
        "STREAMS__GROUP": "caches",
        "STREAMS__CONSUMER": "one",
        "STREAMS__START": "-1h",
        "STREAMS__CLAIM_AFTER": "30s",
        "STREAMS__TRIM": "true",
        "BATCH__MAX_EVENTS": "8",
        "BATCH__MAX_WAIT": "50ms",
        "BATCH__MAX_EVENT_BYTES": "4MiB",
        "IN_FLIGHT__EVENTS": "9",
        "IN_FLIGHT__BYTES": "1GiB",
        "DEAD_LETTERS__MAX_LENGTH": "500",
        "DEAD_LETTERS__MAX_BYTES": "8MiB",
        "DEAD_LETTERS__MAX_AGE": "7d",
        "DEAD_LETTERS__TOPIC": "dead",
        "DEAD_LETTERS__REDACT": "data.email,**.pin",
        "FRESHNESS__SAMPLE": "0.5",
        "FRESHNESS__PER_SECOND": "10",
        "FRESHNESS__DELAYS": "2s,1m",
        "FRESHNESS__FINDINGS": "7",
        "FRESHNESS__POSTGRES": "***",
        "FRESHNESS__URL_TOKEN": "***",
        "LOG__FORMAT": "console",
        "LOG__LEVEL": "debug",
        "ADMIN__HOST": "0.0.0.0",
        "ADMIN__PORT": "0",
        "ADMIN__TOKEN": "***",
        "ADMIN__HOSTS": "cache.example.com",
        "TRACES": "true",
        "DRAIN_TIMEOUT": "5s",
    }
    hidden = {"ADMIN__TOKEN": "0123456789abcdef", "HTTP__ROUTES__ORDERS": "token:0123456789abcdef"}
    set_all(monkeypatch, **written | hidden)
    shown = {d.name.removeprefix("INVALIDATOR_"): d for d in describe(load())}
    assert {name: shown[name].value for name in written} == written
    assert {shown[name].origin for name in written} == {"environment"}
    elsewhere = ("KAFKA__TLS__", "KAFKA__SASL__")  # test_settings_security.py
    left = {name for name in set(shown) - set(written) if not name.startswith(elsewhere)}
    assert left == {"ENV_FILE", "SECRETS_DIR"}


def test_values_have_the_types_that_the_daemon_works_with(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        KAFKA__BOOTSTRAP_SERVERS=" a:1 , b:2,a:1,",
        KAFKA__TOPICS="t",
        KAFKA__START="-1h",
        PUBSUB__CHANNELS="",
        LOG__LEVEL="INFO",
    )
    settings = load()
    assert settings.kafka.bootstrap_servers == ("a:1", "b:2")
    assert settings.kafka.start == -3600.0
    assert settings.pubsub.channels == ()
    assert settings.log.level == "info"
    assert settings.has_sources


def test_the_other_redis_urls_are_the_caches_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, REDIS_URL="redis://cache:1/0", STATE_URL="redis://state:1/0")
    settings = load()
    assert settings.source_redis_url == settings.redis_url
    assert settings.state_url.get_secret_value() == "redis://state:1/0"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().rules = Path("other")


def test_each_source_wins_over_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env_file = tmp_path / "prod.env"
    env_file.write_text("OTHER=1\nINVALIDATOR_LOG__LEVEL=error\nINVALIDATOR_ADMIN__PORT=3\n")
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    secrets(mounted, log__level="debug", admin__port="4", drain_timeout="4s", redis_timeout="4s")
    set_all(monkeypatch, LOG__LEVEL="warning", SECRETS_DIR=str(mounted))
    settings = load(env_file, redis_timeout="1s", rules=None)
    origins = {d.name: d.origin for d in describe(settings)}
    assert (settings.redis_timeout, origins["INVALIDATOR_REDIS_TIMEOUT"]) == (1, "command line")
    assert (settings.log.level, origins["INVALIDATOR_LOG__LEVEL"]) == ("warning", "environment")
    assert (settings.admin.port, origins["INVALIDATOR_ADMIN__PORT"]) == (3, f"env file {env_file}")
    file = f"secret file {mounted / 'drain_timeout'}"
    assert (settings.drain_timeout, origins["INVALIDATOR_DRAIN_TIMEOUT"]) == (4, file)
    assert origins["INVALIDATOR_RULES"] == "default"


def test_the_env_file_may_be_named_in_the_environment_and_name_the_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    secrets(mounted, redis_url="redis://:hunter2@cache/0\n")
    env_file = tmp_path / "prod.env"
    env_file.write_text(f"export INVALIDATOR_SECRETS_DIR='{mounted}'  # mounted\n")
    set_all(monkeypatch, ENV_FILE=str(env_file))
    assert load().redis_url.get_secret_value() == "redis://:hunter2@cache/0"


@pytest.mark.parametrize(
    "name", ["redis_url", "REDIS_URL", "invalidator_redis_url", "INVALIDATOR_REDIS_URL"]
)
def test_a_secret_file_is_named_as_the_setting_with_or_without_prefix(
    tmp_path: Path, name: str
) -> None:
    settings = load(secrets_dir=secrets(tmp_path, **{name: "redis://:hunter2@cache/0\n"}))
    assert settings.redis_url.get_secret_value() == "redis://:hunter2@cache/0"
    origin = next(d.origin for d in describe(settings) if d.name == "INVALIDATOR_REDIS_URL")
    assert origin == f"secret file {tmp_path / name}"


def test_a_kubernetes_secret_volume_with_its_links_is_read(tmp_path: Path) -> None:
    (tmp_path / "..2026_01_01").mkdir()
    secrets(tmp_path / "..2026_01_01", redis_url="redis://cache/7")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "redis_url").symlink_to("..data/redis_url")
    assert load(secrets_dir=tmp_path).redis_url.get_secret_value() == "redis://cache/7"


def test_files_of_other_programs_beside_our_secrets_are_let_be(tmp_path: Path) -> None:
    secrets(tmp_path, db_password="x", token="x", kafka_tls="x")
    (tmp_path / "ca.crt").write_text("x")
    (tmp_path / "kubernetes.io").mkdir()
    assert load(secrets_dir=tmp_path).log.level == "info"


@pytest.mark.parametrize("where", ["environment", "env file"])
def test_a_secret_file_that_another_source_hides_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    mounted = secrets(tmp_path, redis_url="redis://secret/0", state_url="redis://state/0")
    env_file = tmp_path / ".env"
    env_file.write_text("INVALIDATOR_REDIS_URL=redis://plain/0" if where == "env file" else "")
    if where == "environment":
        set_all(monkeypatch, REDIS_URL="redis://plain/0")
    described = describe(load(env_file, mounted))
    (hidden,) = [entry for entry in described if entry.hidden]
    assert (hidden.name, hidden.value) == ("INVALIDATOR_REDIS_URL", "redis://plain/0")
    assert hidden.hidden.startswith(f"secret file {mounted / 'redis_url'} has no effect: {where}")


# --- secrets stay secret ---


def test_a_password_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, REDIS_URL="redis://user:hunter2@cache:6379/0")
    settings = load()
    shown = [repr(settings), str(settings), repr(describe(settings)), settings.model_dump_json()]
    assert "hunter2" not in "".join(shown)
    assert "redis://user:***@cache:6379/0" in [d.value for d in describe(settings)]


@pytest.mark.parametrize("url", ["http://user:hunter2@cache", "hunter2", "redis://:a/hunter2@c/0"])
def test_a_wrong_url_is_shown_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    set_all(monkeypatch, REDIS_URL=url)
    (line,) = mistakes()
    assert line.startswith("INVALIDATOR_REDIS_URL (environment): found ")
    assert "hunter2" not in line


def test_settings_made_without_load_do_not_show_wrong_secrets_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, REDIS_URL="http://:hunter2@cache")
    with pytest.raises(ValueError, match="redis_url") as refused:
        Settings()
    assert "hunter2" not in str(refused.value)


# --- mistakes ---


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RULES", "", 'found "", expected a path'),
        ("REDIS_TIMEOUT", "2", 'found "2", expected a duration with a unit, such as 2s or 2ms'),
        ("REDIS_TIMEOUT", "0", 'found "0", expected a duration greater than 0, such as 2s'),
        ("BATCH__MAX_EVENTS", "0", 'found "0", expected a whole number, 1 or more'),
        ("BATCH__MAX_EVENTS", "many", 'found "many", expected a whole number, 1 or more'),
        ("BATCH__MAX_EVENT_BYTES", "0", 'found "0", expected a size greater than 0'),
        (
            "ADMIN__TOKEN",
            "short",
            "found ***, expected 16 characters or more, printable ASCII without spaces",
        ),
        ("ADMIN__PORT", "65536", 'found "65536", expected a whole number from 0 to 65535'),
        ("LOG__FORMAT", "xml", 'found "xml", expected one of auto, json, console'),
        (
            "KAFKA__START",
            "1h",
            'found "1h", expected latest, earliest, or how far back as a negative duration '
            "such as -1h",
        ),
        ("KAFKA__GROUP_ID", " ", 'found " ", expected some text'),
        (
            "REDIS_URL",
            "http://user:hunter2@cache",
            "found http://user:***@cache, expected a URL that begins with one of redis://, "
            "rediss://, unix://, redis+sentinel://, redis+cluster://",
        ),
        (
            "KAFKA__SASL__TOKEN_URL",
            "https://me:hunter2@login/token",
            "found https://me:***@login/token, expected a URL such as "
            "https://login.example.com/oauth2/token, without a password",
        ),
        (
            "KAFKA__BOOTSTRAP_SERVERS",
            "kafka://a:1",
            'found "kafka://a:1", expected host:port pairs separated by commas, '
            "not 'kafka://a:1'",
        ),
        (
            "KAFKA__TOPICS",
            "a b",
            "found \"a b\", expected topic names of letters, digits, . _ and -, not 'a b'",
        ),
    ],
)
def test_a_wrong_value_names_the_variable_what_was_found_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    set_all(monkeypatch, **{name: value})
    assert mistakes() == [f"INVALIDATOR_{name} (environment): {expected}"]


def test_a_very_long_wrong_value_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, LOG__LEVEL="x" * 5000)
    (line,) = mistakes()
    assert len(line) < 300


def test_all_mistakes_of_all_sources_are_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / "prod.env"
    env_file.write_text("INVALIDATOR_DRAIN_TIMEOUT=soon\nINVALIDATOR_LOG_LEVEL=info\n")
    set_all(monkeypatch, BATCH__MAX_EVENTS="-1", KAFKA__TOPICS="orders", REDIS_URL="http://c")
    assert sorted(mistakes(env_file=env_file, admin__port="x")) == [
        "INVALIDATOR_ADMIN__PORT (command line): "
        'found "x", expected a whole number from 0 to 65535',
        "INVALIDATOR_BATCH__MAX_EVENTS (environment): "
        'found "-1", expected a whole number, 1 or more',
        f"INVALIDATOR_DRAIN_TIMEOUT (env file {env_file}): "
        'found "soon", expected a duration such as 500ms, 30s, 10m, 1h or 0',
        "INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS: missing, but required by INVALIDATOR_KAFKA__TOPICS",
        f"INVALIDATOR_LOG_LEVEL (env file {env_file}): "
        "no such setting; did you mean INVALIDATOR_LOG__LEVEL?",
        "INVALIDATOR_REDIS_URL (environment): "
        "found http://c, expected a URL that begins with one of redis://, rediss://, unix://, "
        "redis+sentinel://, redis+cluster://",
    ]


def test_brokers_without_topics_are_half_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, KAFKA__BOOTSTRAP_SERVERS="a:1")
    assert mistakes() == [
        "INVALIDATOR_KAFKA__TOPICS: missing, but required by INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS"
    ]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("INVALIDATOR_REDIS_ULR", "INVALIDATOR_REDIS_URL"),
        ("INVALIDATOR_KAFKA_TOPICS", "INVALIDATOR_KAFKA__TOPICS"),
        ("INVALIDATOR_TOPICS", "INVALIDATOR_KAFKA__TOPICS"),
        ("INVALIDATOR_BATCH__MAX_EVENT", "INVALIDATOR_BATCH__MAX_EVENTS"),
        ("INVALIDATOR_PORT", "INVALIDATOR_ADMIN__PORT"),
        ("INVALIDATOR_ADMIN_PORT", "INVALIDATOR_ADMIN__PORT"),
        ("INVALIDATOR_CACHE__ORDERS", "INVALIDATOR_CACHES__ORDERS"),
        ("INVALIDATOR_CACHES_ORDERS", "INVALIDATOR_CACHES__ORDERS"),
        ("INVALIDATOR_CACHES__ORDERS__EU", "INVALIDATOR_CACHES__ORDERS_EU"),
        ("invalidator_redis_ulr", "INVALIDATOR_REDIS_URL"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_valid_one(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "8080")
    assert mistakes() == [f"{name.upper()} (environment): no such setting; did you mean {nearest}?"]


def test_a_name_near_to_none_is_told_where_they_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, XYZZY="1")
    assert mistakes() == [
        "INVALIDATOR_XYZZY (environment): no such setting; `invalidator settings` lists them all"
    ]


def test_a_group_set_as_json_is_told_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, LOG='{"level": "info"}')
    assert mistakes() == [
        "INVALIDATOR_LOG (environment): is a group of settings; "
        "set one of INVALIDATOR_LOG__FORMAT, INVALIDATOR_LOG__LEVEL"
    ]


def test_the_variables_of_kubernetes_services_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("INVALIDATOR", "INVALIDATOR_ADMIN", "INVALIDATOR_REDIS"):
        monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.96.0.12")
        monkeypatch.setenv(f"{service}_SERVICE_PORT", "8080")
        monkeypatch.setenv(f"{service}_SERVICE_PORT_HTTP_ADMIN", "8080")
        monkeypatch.setenv(f"{service}_PORT", "tcp://10.96.0.12:8080")
        monkeypatch.setenv(f"{service}_PORT_8080_TCP", "tcp://10.96.0.12:8080")
        monkeypatch.setenv(f"{service}_PORT_8080_TCP_ADDR", "10.96.0.12")
        monkeypatch.setenv(f"{service}_PORT_8080_TCP_PORT", "8080")
        monkeypatch.setenv(f"{service}_PORT_8080_TCP_PROTO", "tcp")
    assert load().admin.port == 8080


@pytest.mark.parametrize("name", ["redis_ulr", "invalidator_xyzzy", "kafka__password"])
def test_a_secret_file_that_looks_like_ours_but_is_no_setting_is_a_mistake(
    tmp_path: Path, name: str
) -> None:
    (line,) = mistakes(secrets_dir=secrets(tmp_path, **{name: "x"}))
    assert f"(secret file {tmp_path / name}): no such setting" in line


def test_a_secret_that_is_a_link_to_elsewhere_is_a_mistake_rather_than_passed_over(
    tmp_path: Path,
) -> None:
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    secrets(tmp_path, elsewhere="redis://cache/0")
    (mounted / "redis_url").symlink_to(tmp_path / "elsewhere")
    (line,) = mistakes(secrets_dir=mounted)
    assert "is a link that leads out of" in line


def test_two_secret_files_for_one_setting_are_a_mistake(tmp_path: Path) -> None:
    secrets(tmp_path, redis_url="redis://a/0", INVALIDATOR_REDIS_URL="redis://b/0")
    assert mistakes(secrets_dir=tmp_path) == [
        f"secret file {tmp_path / 'redis_url'}: gives the same setting as "
        f"{tmp_path / 'INVALIDATOR_REDIS_URL'}; keep one of them"
    ]


def test_a_missing_env_file_and_secrets_directory_are_mistakes(tmp_path: Path) -> None:
    assert mistakes(env_file=tmp_path / "a.env", secrets_dir=tmp_path / "b") == [
        f"env file {tmp_path / 'a.env'}: cannot be read: No such file or directory",
        f"secrets in {tmp_path / 'b'}: no such directory",
    ]


def test_an_env_file_that_cannot_be_read_is_a_mistake_with_its_line(tmp_path: Path) -> None:
    env_file = tmp_path / "prod.env"
    env_file.write_text("# comment\n\nINVALIDATOR_RULES\nOTHER\nnot a hunter2 line\n")
    assert mistakes(env_file=env_file) == [
        f"env file {env_file}, line 3: expected NAME=value",
        f"env file {env_file}, line 5: expected NAME=value",
    ]
    env_file.write_bytes(b"\xff\xfe")
    assert mistakes(env_file=env_file) == [
        f"env file {env_file}: cannot be read: it is not UTF-8 text"
    ]
    assert mistakes(env_file=tmp_path) == [f"env file {tmp_path}: is not a regular file"]


def test_an_env_file_cannot_name_another(tmp_path: Path) -> None:
    env_file = tmp_path / "prod.env"
    env_file.write_text("INVALIDATOR_ENV_FILE=other.env\n")
    assert mistakes(env_file=env_file) == [
        f"INVALIDATOR_ENV_FILE (env file {env_file}): "
        "can only be set in the environment or on the command line"
    ]


def test_an_override_that_is_no_setting_is_the_callers_mistake() -> None:
    with pytest.raises(TypeError, match="INVALIDATOR_ADMIN_PORT"):
        load(admin_port=1)


# --- caches with a Redis of their own ---


def test_a_cache_is_given_a_redis_by_every_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / "prod.env"
    env_file.write_text("INVALIDATOR_CACHES__B=redis://b:1/0\n")
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    secrets(mounted, **{"caches__c-d": "redis://:hunter2@c:1/0"})
    set_all(monkeypatch, CACHES__A="redis://a:1/0", SECRETS_DIR=str(mounted))
    settings = load(env_file, caches__e="redis://e:1/0")
    urls = {name: f"redis://{name[0]}:1/0" for name in ("a", "b", "e")}
    assert cache_urls(settings) == urls | {"c_d": "redis://:hunter2@c:1/0"}
    shown = {d.name: d for d in describe(settings) if "CACHES__" in d.name}
    assert shown["INVALIDATOR_CACHES__B"].origin == f"env file {env_file}"
    assert shown["INVALIDATOR_CACHES__C-D"].value == "redis://:***@c:1/0"


def test_a_wrong_url_of_a_cache_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, CACHES__ORDERS="http://:hunter2@a")
    assert mistakes() == [
        "INVALIDATOR_CACHES__ORDERS (environment): found http://:***@a, expected a URL that "
        "begins with one of redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"
    ]


def test_the_group_of_caches_is_told_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, CACHES="redis://a:1/0")
    assert mistakes() == [
        "INVALIDATOR_CACHES (environment): is a group of settings; "
        "set one of INVALIDATOR_CACHES__NAME"
    ]


def named(*names: str) -> dict[str, Cache]:
    return {name: Cache(name) for name in names}


def test_a_cache_that_the_rules_do_not_know_is_told_the_nearest_that_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, CACHES__ORDERS_EU="redis://a:1/0", CACHES__UZERS="redis://b:1/0")
    assert [*misplaced_caches(load(), named("default", "Orders-EU", "users"))] == [
        "INVALIDATOR_CACHES__UZERS (environment): the rules have no cache uzers; "
        "did you mean INVALIDATOR_CACHES__USERS?"
    ]
    assert [*misplaced_caches(load(), named("default", "orders.eu"))] == [
        "INVALIDATOR_CACHES__UZERS (environment): the rules have no cache uzers; "
        "they have default, orders.eu"
    ]


# --- describing ---


def test_each_setting_is_described_for_a_user() -> None:
    for setting in defaults():
        assert re.fullmatch(r"[A-Za-z$].{15,}[.]", setting.meaning, re.DOTALL), setting
        assert setting.value == setting.default


# --- the edge ---


def at_edge(target: str) -> dict[str, Cache]:
    return {"default": Cache(), "shop-pages": Cache("shop-pages", target=target)}


def test_a_cache_at_the_edge_needs_its_url_and_a_cdn_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "INVALIDATOR_EDGE__URLS__SHOP_PAGES"
    assert [*misplaced_caches(load(), at_edge("varnish"))] == [
        f"{url}: missing, because the rules have target: varnish"
    ]
    set_all(monkeypatch, EDGE__URLS__SHOP_PAGES="https://api.example.com")
    assert [*misplaced_caches(load(), at_edge("varnish"))] == []
    assert [*misplaced_caches(load(), at_edge("cloudflare"))] == [
        f"{url}: must end with /zones/ID, because the rules have target: cloudflare",
        "INVALIDATOR_EDGE__SECRETS__SHOP_PAGES: missing, because the rules have target: cloudflare",
    ]
    set_all(
        monkeypatch,
        EDGE__URLS__SHOP_PAGES="https://api.example.com/zones/1",
        EDGE__SECRETS__SHOP_PAGES="token",
    )
    assert [*misplaced_caches(load(), at_edge("cloudflare"))] == []


def test_a_url_of_the_other_sort_of_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        CACHES__SHOP_PAGES="redis://a:1/0",
        EDGE__URLS__SHOP_PAGES="http://a",
        EDGE__URLS__DEFAULT="http://a",
    )
    assert [*misplaced_caches(load(), at_edge("varnish"))] == [
        "INVALIDATOR_CACHES__SHOP_PAGES (environment): by its target in the rules, the cache "
        "shop_pages is at the edge",
        "INVALIDATOR_EDGE__URLS__DEFAULT (environment): by its target in the rules, the cache "
        "default is on Redis",
    ]


@pytest.mark.parametrize(
    "url", ["", "a:6081", "http://", "ftp://a", "http://u:secret@a", "http://a/#b"]
)
def test_a_url_of_the_edge_is_http_without_a_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    set_all(monkeypatch, EDGE__URLS__PAGES=url)
    (said,) = mistakes()
    assert "expected a URL" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("text", "rate"),
    [("5/s", 5.0), ("30/min", 0.5), ("1800/h", 0.5), ("", 0.0), ("0.1/s", 0.1)],
)
def test_a_rate_is_shown_as_it_can_be_read(
    monkeypatch: pytest.MonkeyPatch, text: str, rate: float
) -> None:
    set_all(monkeypatch, EDGE__RATE=text)
    assert load().edge.rate == rate
    shown = next(
        entry.value for entry in describe(load()) if entry.name == "INVALIDATOR_EDGE__RATE"
    )
    set_all(monkeypatch, EDGE__RATE=shown)
    assert load().edge.rate == pytest.approx(rate)
