"""The rules language, field by field: it is checked, published and documented from here."""

import json
import re
from typing import Any, Final

from invalidator.model import DEFAULT_CACHE, KINDS
from invalidator.rules.envelope import FORMATS, OLD_ROWS
from invalidator.rules.file.types import (
    ANYTHING,
    FLAG,
    Either,
    Field,
    Listed,
    Object,
    Simple,
    Text,
    choice,
    duration,
    number,
)
from invalidator.rules.rule import LAYOUTS, MAX_KEYS, MEMBERS, TARGETS, VALUES

_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")
MAX_RULE_NAME: Final = 100  # it labels metrics
TEXTS: Final = Listed(Text(most=4096), single=True)

INVALIDATE: Final = Object(
    "invalidate",
    {
        "keys": Field(TEXTS, "templates of keys to delete"),
        "patterns": Field(TEXTS, "templates of globs; every key that matches is deleted"),
        "tags": Field(TEXTS, "templates of tags; every key that carries one is deleted"),
        "versions": Field(TEXTS, "templates of version counters to raise"),
    },
    some=True,
)

VERIFY: Final = Object(
    "verify",
    {
        "cached": Field(TEXTS, "fields of the cached value, which is JSON"),
        "entry": Field(
            choice("version"), "the row version of an entry that invalidator.cache wrote"
        ),
        "event": Field(TEXTS, "fields of the event's data: numbers or timestamps"),
        "url": Field(Text(), "where the truth is, with {fields} of the key; it answers with JSON"),
        "sql": Field(Text(), "a PostgreSQL query for the truth, with {fields} of the key"),
        "truth": Field(TEXTS, "fields of the truth, if they are called other than in the cache"),
    },
    some=True,
)

RULE: Final = Object(
    "a rule",
    {
        "name": Field(
            Text(most=MAX_RULE_NAME), "the rule's name, unique across all files", required=True
        ),
        "on": Field(TEXTS, "types of events: * one segment, ** any number", required=True),
        "when": Field(Text(lines=True), "a condition on the event (a subset of CEL)"),
        "on_error": Field(
            choice("apply", "skip", "reject"),
            "what happens where the condition fails, such as on a missing field",
            default="apply",
        ),
        "invalidate": Field(INVALIDATE, "what the caches must forget", required=True),
        "repeat_after": Field(
            duration(3600, zero=True),
            "apply once more after this time, for lagging replicas; for a cache at the edge the "
            "default is 5s, and 0s is never",
        ),
        "cache": Field(Text(), "the cache that is meant", default=DEFAULT_CACHE),
        "source": Field(
            TEXTS, "only events of these topics, channels or streams; * stands for any text"
        ),
        "on_reject": Field(
            Object(
                "on_reject",
                {
                    "keys": Field(TEXTS, "keys to delete instead"),
                    "tags": Field(TEXTS, "tags to invalidate instead"),
                    "versions": Field(TEXTS, "version counters to raise instead"),
                },
                some=True,
            ),
            "what is done instead where the rule cannot be planned; fixed names, without fields",
        ),
        "verify": Field(
            VERIFY, "compares a sample of the entries after events: is what is cached fresh?"
        ),
        "max_keys": Field(
            number(1, 1_000_000),
            "names that this rule may give for one event; more than that reject it",
            default=MAX_KEYS,
        ),
        "allow_broad": Field(
            FLAG,
            "permits patterns without a literal beginning, or that reach protected names",
            default=False,
        ),
        "enabled": Field(FLAG, "false: the rule is checked but never applied", default=True),
        "description": Field(Text(empty=True, lines=True), "what the rule is for"),
        "owner": Field(Text(empty=True), "who answers for it"),
    },
)

_READING = {
    "format": Field(
        choice(*FORMATS),
        "how an event is wrapped; auto distinguishes plain, CloudEvents and Debezium",
        default="auto",
    ),
    "type": Field(
        TEXTS,
        "where the type is: fields or texts with {fields}, the first that exists; "
        "else the name of the topic or channel",
        default=["type", "event", "{entity}.{action}"],
    ),
    "data": Field(
        Text(),
        "where the data is: a path, or auto: `data` where that is an object, else the whole event",
        default="auto",
    ),
    "old_rows": Field(
        choice(*OLD_ROWS),
        "which columns of the old rows of change events were sent: auto infers it from the row; "
        "full: all of them; key: those of the record's key",
        default="auto",
    ),
}
ENVELOPE: Final = Object(
    "envelope",
    {
        **_READING,
        "sources": Field(
            Object("sources", others=Object("an envelope", _READING)),
            "other settings for single topics, channels or streams; * stands for any text",
        ),
    },
)

LAYOUT: Final = Object(
    "a layout of tags",
    {
        "layout": Field(choice(*LAYOUTS), "how the cache keeps its tags", required=True),
        "key": Field(Text(), "the key of a tag, with {tag} in it"),
        "members": Field(
            choice(*MEMBERS),
            "whether the set holds full keys, or keys without the prefix",
            default="full",
        ),
    },
)

HEADER: Final = Simple(
    lambda node: "" if _HEADER.fullmatch(node.text) else "expected the name of a header",
    {"type": "string", "pattern": f"^{_HEADER.pattern}$"},
)

CACHE: Final = Object(
    "a cache",
    {
        "target": Field(
            choice(*TARGETS),
            "what the cache is: a Redis, or a service at the edge",
            default="redis",
        ),
        "prefix": Field(Text(empty=True, most=512), "prepended to keys and patterns", default=""),
        "tags": Field(
            Listed(LAYOUT), "how tags are kept, one or several ways", default=[{"layout": "set"}]
        ),
        "versions": Field(
            Object(
                "versions",
                {"key": Field(Text(), "the key of a counter, with {name} in it", required=True)},
            ),
            "where version counters live",
        ),
        "protect": Field(
            Listed(Text(most=1024), single=True, empty=True), "globs no sweep ever deletes"
        ),
        "soft": Field(
            FLAG,
            "true: what is purged becomes stale, and may be served while it is fetched anew "
            "(varnish: tags only; fastly)",
            default=False,
        ),
        "header": Field(
            HEADER,
            "the header of a PURGE request that carries tags to Varnish; its VCL reads it",
            default="xkey-purge, or xkey-softpurge",
        ),
        "bans": Field(FLAG, "true: tags are bans, for a Varnish without xkey", default=False),
    },
)

TEST: Final = Object(
    "a test",
    {
        "name": Field(Text(), "what the test shows"),
        "event": Field(
            Object("an event", others=ANYTHING), "the event as it is received", required=True
        ),
        "source": Field(Text(), "the topic, channel or stream it comes from"),
        "key": Field(Text(), "the record's key"),
        "headers": Field(Object("headers", others=Text(empty=True)), "the record's headers"),
        "expect": Field(
            Either(
                choice("nothing"),
                Object(
                    "expect",
                    {
                        **{
                            kind: Field(
                                Listed(Text(), single=True, empty=True), f"exactly these {kind}"
                            )
                            for kind in KINDS
                        },
                        "rejected": Field(TEXTS, "the rules that reject the event"),
                    },
                ),
            ),
            "exactly what it invalidates; a kind left out is empty",
            required=True,
        ),
    },
)

FILE: Final = Object(
    "the file",
    {
        "version": Field(number(1, 1), "the version of this language", default=1),
        "values": Field(
            choice(*VALUES),
            "how fields are inserted into names: unchanged, or each as by the filter segment",
            default=VALUES[0],
        ),
        "envelope": Field(ENVELOPE, "how events are read"),
        "caches": Field(Object("caches", others=CACHE), "where names live"),
        "rules": Field(Listed(RULE, empty=True), "what is invalidated when"),
        "tests": Field(Listed(TEST, empty=True), "events, and what they invalidate"),
    },
)


def json_schema() -> dict[str, Any]:
    """Return the language as a JSON Schema, so that editors complete and check rules files."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of invalidator",
        "description": "Which cache entries are invalidated by which events.",
        **FILE.schema(),
    }


def published_schema() -> str:
    """Return the JSON Schema as it is published."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
