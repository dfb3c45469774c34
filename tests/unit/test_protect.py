import pytest

from invalidator.errors import ConfigError
from invalidator.targets.redis.protect import protected


def test_tags_versions_our_own_keys_and_what_people_ask_for_are_protected() -> None:
    matcher = protected(["tag:{tag}", "cache:version:{name}", "a:{{tag}}:b"], ["lock:*"])
    keys = [b"tag:x", b"cache:version:", b"a:{x}:b", b"lock:1", b"invalidator:dead"]
    assert matcher.matching([*keys, b"user:1", b"cache:x", b"a:x:b"]) == set(keys)


def test_a_template_is_no_glob() -> None:
    assert protected(["t[a]?{tag}"], []).matching([b"t[a]?x", b"taxx"]) == {b"t[a]?x"}


@pytest.mark.parametrize(("template", "pattern"), [("{tag}", "a:*"), ("tag:{tag}", "**")])
def test_protecting_everything_is_a_mistake(template: str, pattern: str) -> None:
    with pytest.raises(ConfigError):
        protected([template], [pattern])
