"""Redis URLs: what is accepted, and what of them may be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invalidator.urls import check_redis_url, redact


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
    ],
)
def test_a_url_that_the_client_can_use_is_accepted(url: str) -> None:
    check_redis_url(url)


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
        ("redis://cache/0?socket_timeout=90", "no options in the URL but db, client_name"),
        ("redis://cache?db=x", "a database number after db="),
        ("redis://cache?ssl_ca_certs=/ca.pem", "no options in the URL but db, client_name"),
    ],
)
def test_a_url_that_it_cannot_use_is_refused_with_what_was_expected(
    url: str, expected: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        check_redis_url(url)
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
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text("/?#@:&=%[] ", max_size=6), st.text("/?#@:&=%[] ", max_size=6))
def test_a_password_never_shows_however_badly_it_is_escaped(before: str, after: str) -> None:
    assert "hunter2" not in redact(f"redis://user:{before}hunter2{after}@cache:6379/0")
