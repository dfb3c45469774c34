"""The table of lifetimes."""

from pathlib import Path

import pytest

from invalidator.cache import CacheError, Kind, Kinds
from invalidator.cache.kinds import Time, seconds


def test_a_kind_takes_from_the_default_what_it_leaves_out() -> None:
    kinds = Kinds(
        default=Kind(ttl="5m", negative_ttl="10s", jitter=0.2), order=Kind(ttl=600, swr="500ms")
    )
    order = kinds.policy("order")
    assert (order.ttl, order.negative_ttl, order.jitter, order.swr) == (600, 10, 0.2, 0.5)
    assert kinds.policy(Kind(schema=3)).schema == b"0003"


def test_kinds_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "cache.toml"
    path.write_text('[default]\nttl = "1h"\n[search]\nttl = "60s"\nmax_bytes = "64KiB"\n')
    kinds = Kinds.load(path)
    assert kinds.policy("search").ttl == 60
    assert kinds.policy("search").max_bytes == 65536
    assert kinds.policy("default").ttl == 3600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[a]\nttl = "5 minutes"', "'5 minutes' is no time"),
        ('[a]\ntll = "5m"', "a: Object contains unknown field `tll`"),
        ('[a]\nttl = "0s"', "a ttl is more than 0"),
        ("[a]\njitter = 1.5", "jitter is a share"),
        ("[a]\nschema = 10000", "a schema is a number from 0 to 9999"),
        ('[a]\nmax_bytes = "1GB"', "is no size"),
        ('[a]\nstale_on = ["OSError"]', "only code can do"),
    ],
)
def test_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "cache.toml"
    path.write_text(text)
    with pytest.raises(CacheError, match=said):
        Kinds.load(path)


def test_an_unknown_kind_names_those_that_exist() -> None:
    with pytest.raises(CacheError, match="no kind is called 'oder'; there are: default, order"):
        Kinds(order=Kind()).policy("oder")


@pytest.mark.parametrize("value", ["36501d", float("inf"), float("nan"), 10**20])
def test_a_time_of_more_than_a_century_is_an_error(value: Time) -> None:
    """An entry writes times in 13 digits."""
    with pytest.raises(CacheError, match="at most 36500d"):
        seconds(value)
