"""Redis URLs: what is accepted, and what of them may be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.runtime.urls import Address, parse_redis_url, redact


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://cache",
        "rediss://user:p%2Fss@cache.example:6380/3",
        "rediss://cache/0?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock?db=2",
        "unix://user:password@/run/redis.sock",
        "redis+sentinel://a,b:26380,[::1]:1/main",
        "redis+sentinel://u:p@a/main/3?sentinel_username=s&sentinel_password=w",
        "rediss+sentinel://a/main?ssl_certfile=/c.pem&ssl_keyfile=/c.key&ssl_cert_reqs=none",
        "redis+cluster://user:p@a:1,b:2",
        "rediss+cluster://user@a/0?password_file=/run/secrets/redis",
    ],
)
def test_a_url_that_the_client_can_use_is_accepted(url: str) -> None:
    parse_redis_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://cache:6379", "a URL that begins with one of redis://, rediss://, unix://"),
        ("cache:6379", "a URL that begins with one of redis://, rediss://, unix://"),
        ("redis:/cache", "a URL that begins with one of redis://, rediss://, unix://"),
        ("redis://", "a URL with a host, such as redis://127.0.0.1:6379/0"),
        ("redis://cache:99999", "a URL with a port from 0 to 65535"),
        ("redis://cache/orders", "a URL that ends in a database number, such as /0"),
        ("unix://", "the path of a socket, such as unix:///run/redis/redis.sock"),
        ("redis://:12/34@cache/0", "a URL whose password has / ? # @ written as"),
        ("redis://:pa/ss@cache/0", "a URL whose password has / ? # @ written as"),
        ("redis://cache/0?socket_timeout=90", "only the options db, client_name"),
        ("redis://cache?db=x", "a database number after db="),
        ("redis://cache?ssl_ca_certs=/ca.pem", "only the options db, client_name"),
        ("redis://a,b/0", "one host; only redis+cluster:// and redis+sentinel:// take several"),
        ("redis+sentinel://a:1,b:2", "a URL that ends in the service name of the sentinels"),
        ("redis+sentinel://a/main/x", "a URL that ends in the service name of the sentinels"),
        ("redis+sentinel:///main", "a URL with a host, such as redis+sentinel://10.0.0.1:26379,"),
        ("redis+cluster://", "a URL with a host, such as redis+cluster://10.0.0.1:6379,"),
        ("redis+cluster://a:1,", "a URL with a port from 0 to 65535"),
        ("redis+cluster://a:1,b:x", "a URL with a port from 0 to 65535"),
        ("redis+cluster://a/3", "a URL without a database number: a cluster has only 0"),
        ("redis+cluster://a?db=1", "only the options client_name, password_file"),
        ("redis+cluster://u:p@a,u:p@b", "a URL whose password has / ? # @ written as"),
        ("redis://:p@a?password_file=/f", "either a password in the URL or a password_file"),
        ("rediss://a?ssl_cert_reqs=no", "required or optional or none after ssl_cert_reqs="),
        ("rediss://a?ssl_check_hostname=0", "true or false after ssl_check_hostname="),
        ("unix+cluster:///a", "a URL that begins with one of redis://, rediss://, unix://"),
        ("redisss://a", "a URL that begins with one of redis://, rediss://, unix://"),
    ],
)
def test_a_url_that_it_cannot_use_is_refused_with_what_was_expected(
    url: str, expected: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        parse_redis_url(url)
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("rediss://user:hunter2@cache:6379/3", "rediss://user:***@cache:6379/3"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("unix://user:hunter2@/run/redis.sock", "unix://user:***@/run/redis.sock"),
        ("redis+sentinel://:hunter2@a:1,b:2/main/0", "redis+sentinel://:***@a:1,b:2/main/0"),
        ("redis://c?password=hunter2&db=1", "redis://c?password=***&db=1"),
        ("rediss://c?ssl_password=hunter2", "rediss://c?ssl_password=***"),
        ("hunter2", "***"),
        ("redis+cluster://u:hunter2@a:1,b:2", "redis+cluster://u:***@a:1,b:2"),
        ("redis+cluster://u:hunter2@a,u:hunter2@b", "redis+cluster://u:***@b"),
        (
            "redis+sentinel://a/main?sentinel_username=s&sentinel_password=hunter2",
            "redis+sentinel://a/main?sentinel_username=s&sentinel_password=***",
        ),
        (
            "redis://a?password_file=/run/p&client_name=x&PASSWORD=hunter2",
            "redis://a?password_file=/run/p&client_name=x&PASSWORD=***",
        ),
        ("redis://a?pass=hunter2&auth=hunter2", "redis://a?pass=***&auth=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text("/?#@:&=%[] ", max_size=6), st.text("/?#@:&=%[] ", max_size=6))
def test_a_password_never_shows_however_badly_it_is_escaped(before: str, after: str) -> None:
    assert "hunter2" not in redact(f"redis://user:{before}hunter2{after}@cache:6379/0")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://Cache", Address("server", False, (("cache", 6379),))),
        (
            "rediss://me:p%40ss@[::1]:1/2",
            Address("server", True, (("::1", 1),), db=2, username="me", password="p@ss"),
        ),
        (
            "unix://me:p@/run/a%20b.sock?db=2",
            Address("socket", False, (), "/run/a b.sock", db=2, username="me", password="p"),
        ),
        (
            "redis+sentinel://:p@a,b:1/my%20main/3",
            Address("sentinel", False, (("a", 26379), ("b", 1)), "", "my main", 3, password="p"),
        ),
        (
            "rediss+cluster://a,b:1?ssl_ca_certs=/ca",
            Address("cluster", True, (("a", 6379), ("b", 1)), options={"ssl_ca_certs": "/ca"}),
        ),
    ],
)
def test_a_url_says_where_and_how(url: str, address: Address) -> None:
    assert parse_redis_url(url) == address


def test_an_address_shows_no_password() -> None:
    shown = repr(parse_redis_url("redis+sentinel://u:hunter2@a/m?sentinel_password=hunter2"))
    assert "hunter2" not in shown
    assert "'u'" in shown
