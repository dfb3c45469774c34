"""Rules for the edge: each target has its own kinds of names, fields and forms."""

from pathlib import Path

import pytest

from invalidator.errors import RulesError
from invalidator.rules import load

SITE = 'prefix: "https://www.example.com"'


def rules(folder: Path, cache: str, rule: str) -> str:
    path = folder / "rules.yaml"
    path.write_text(
        f"caches:\n  pages: {{{cache}}}\nrules:\n"
        f"  - {{name: a, on: x.y, cache: pages, {rule}}}\n"
        "  - {name: b, on: x.y, invalidate: {keys: b}}\n"
    )
    return str(path)


@pytest.mark.parametrize(
    ("cache", "rule", "said"),
    [
        (
            "target: varnish",
            "invalidate: {versions: v}",
            "target: varnish has no versions; it has keys, patterns, tags",
        ),
        (
            f"target: fastly, {SITE}",
            "invalidate: {patterns: '/a*'}",
            "target: fastly has no patterns; it has keys, tags",
        ),
        (
            "target: fastly",
            "invalidate: {keys: '/a'}",
            "target: fastly takes URLs: with the prefix, it must begin with https:// or http://",
        ),
        (
            "target: varnish",
            "invalidate: {keys: 'a'}",
            "it must begin with https:// or http:// or /",
        ),
        ("target: varnish", "invalidate: {keys: '{url}'}", "it must begin with https://"),
        (
            f"target: cloudflare, {SITE}",
            "invalidate: {patterns: '/a/*/b'}",
            "target: cloudflare purges by prefix: end with one *, without other wildcards",
        ),
        (f"target: cloudflare, {SITE}", "invalidate: {patterns: '/a{id}'}", "purges by prefix"),
        (f"target: cloudflare, {SITE}", "invalidate: {patterns: '/a?*'}", "purges by prefix"),
        (
            f"target: varnish, {SITE}",
            "invalidate: {patterns: '/*'}",
            "begins with a literal path, or it could reach every page; allow_broad: true",
        ),
        (
            "target: fastly, protect: [a]",
            "invalidate: {tags: t}",
            "protect: a cache with target: fastly has none; it is for redis",
        ),
        (
            "target: http, soft: true",
            "invalidate: {tags: t}",
            "soft: a cache with target: http has none; it is for varnish, fastly",
        ),
        ("bans: true", "invalidate: {tags: t}", "bans: a cache with target: redis has none"),
        (
            "target: varnish, soft: true, bans: true",
            "invalidate: {tags: t}",
            "soft: is for tags by xkey, and bans: true replaces that",
        ),
        ("target: akamai", "invalidate: {tags: t}", "target: akamai is not valid"),
        ("target: varnish, header: 'a b'", "invalidate: {tags: t}", "the name of a header"),
    ],
)
def test_what_a_target_does_not_have_is_refused(
    tmp_path: Path, cache: str, rule: str, said: str
) -> None:
    with pytest.raises(RulesError) as refused:
        load(Path(rules(tmp_path, cache, rule)))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("cache", "rule"),
    [
        ("target: varnish", "invalidate: {keys: '/a/{id}', patterns: '/b/*', tags: t}"),
        (f"target: varnish, {SITE}", "allow_broad: true, invalidate: {patterns: '/*'}"),
        (f"target: cloudflare, {SITE}", "invalidate: {patterns: '/a/{id}/*', keys: '/', tags: t}"),
        ("target: http", "invalidate: {keys: 'any', patterns: 'x*', tags: t, versions: v}"),
    ],
)
def test_what_it_has_is_taken(tmp_path: Path, cache: str, rule: str) -> None:
    assert load(Path(rules(tmp_path, cache, rule))).caches["pages"].at_edge


@pytest.mark.parametrize(
    ("cache", "written", "seconds"),
    [
        ("target: varnish", "", 5.0),
        ("target: varnish", "repeat_after: 30s, ", 30.0),
        ("target: varnish", "repeat_after: 0s, ", 0.0),
        ("target: redis", "", None),
    ],
)
def test_a_rule_for_the_edge_has_a_second_pass_unless_it_says_otherwise(
    tmp_path: Path, cache: str, written: str, seconds: float | None
) -> None:
    found = load(Path(rules(tmp_path, cache, f"{written}invalidate: {{tags: t}}")))
    assert [rule.repeat_after for rule in found.rules] == [seconds, None]
