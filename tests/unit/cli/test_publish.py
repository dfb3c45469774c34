"""`invalidator publish`, on a real Redis."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from redis.client import PubSub

from invalidator.cli import main
from tests.backends.redis_server import RedisServer
from tests.backends.waiting import until_sync

RULES = "rules: [{name: orders, on: order.updated, invalidate: {keys: 'o:{id}'}}]"
Publish = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def publish(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    monkeypatch.chdir(tmp_path)  # where no rules are
    monkeypatch.setenv("INVALIDATOR_REDIS_URL", redis_url)
    monkeypatch.setattr("invalidator.cli.publish.WITHIN", 0.2)
    return lambda *words: main(["publish", *words])


@contextmanager
def listening(url: str, channel: str) -> Iterator[PubSub]:
    with redis.Redis.from_url(url, protocol=2) as client, PubSub(client.connection_pool) as own:
        own.subscribe(channel)
        until_sync(lambda: own.get_message(timeout=1.0), what="the subscription")
        yield own


def received(listener: PubSub) -> dict[str, Any]:
    message = until_sync(lambda: listener.get_message(timeout=1.0), what="the event")
    event: dict[str, Any] = json.loads(message["data"])
    return event


def test_an_event_reaches_who_listens(redis_url: str, publish: Publish, capsys: Output) -> None:
    with listening(redis_url, "events") as listener:
        assert publish("order.updated", '{"orderId": "ord_1"}') == 0
        event = received(listener)
    assert list(event) == ["type", "data", "id", "time"]
    assert (event["type"], event["data"]) == ("order.updated", {"orderId": "ord_1"})
    assert str(UUID(event["id"])) == event["id"]
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    said = capsys.readouterr()
    assert said.out == (
        "published order.updated on channel events: 1 subscriber\n"
        f"  id {event['id']}, {redis_url}\n"
    )
    assert said.err == ""


def test_numbers_keep_all_their_digits(redis_url: str, publish: Publish) -> None:
    data = '{"id": 123456789012345678901234, "price": 1.10}'
    with listening(redis_url, "events") as listener:
        assert publish("order.updated", data) == 0
        message = until_sync(lambda: listener.get_message(timeout=1.0), what="the event")
    assert data.encode() in message["data"]


def test_an_event_is_added_to_a_stream(
    redis_url: str, redis_now: redis.Redis, publish: Publish, capsys: Output
) -> None:
    redis_now.xgroup_create("orders", "invalidator", mkstream=True)
    words = ["--stream", "orders", "--header", "trace=a1"]
    assert publish("order.updated", '{"orderId": "ord_1"}', *words) == 0
    entries: Any = redis_now.xrange("orders")
    ((entry, fields),) = entries
    assert fields[b"trace"] == b"a1"
    event = json.loads(fields[b"event"])
    assert (event["type"], event["data"]) == ("order.updated", {"orderId": "ord_1"})
    said = capsys.readouterr()
    assert said.out == (
        "published order.updated on stream orders: 1 group\n"
        f"  id {event['id']}, entry {entry.decode()}\n"
        f"  {redis_url}\n"
    )
    assert said.err == ""


def test_a_stream_that_no_group_reads_is_said(
    redis_now: redis.Redis, publish: Publish, capsys: Output
) -> None:
    assert publish("t", "{}", "--to", "stream") == 0
    said = capsys.readouterr()
    assert "on stream events: 0 groups" in said.out
    assert said.err.startswith("warning: no group reads events, so nothing was invalidated.")
    assert redis_now.xlen("events") == 1


@pytest.mark.parametrize(
    ("channels", "streams", "words", "place"),
    [
        ("", "orders,items", [], "stream orders"),
        ("news", "orders", [], "channel news"),
        ("news", "orders", ["--to", "stream"], "stream orders"),
        ("", "orders", ["--to", "pubsub"], "channel events"),
        ("", "orders", ["--stream", "items"], "stream items"),
    ],
)
def test_where_an_event_goes_follows_what_is_configured(
    channels: str,
    streams: str,
    words: list[str],
    place: str,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    monkeypatch.setenv("INVALIDATOR_PUBSUB__CHANNELS", channels)
    monkeypatch.setenv("INVALIDATOR_STREAMS__KEYS", streams)
    publish("t", "{}", *words)
    assert f"on {place}: " in capsys.readouterr().out


def test_keys_are_set_first_and_only_the_first_equals_sign_divides(
    redis_now: redis.Redis, publish: Publish, capsys: Output
) -> None:
    assert publish("t", "{}", "--set", "order:1=a=b", "--set", "order:2=") == 1
    assert redis_now.mget("order:1", "order:2") == [b"a=b", b""]
    assert redis_now.ttl("order:1") == -1
    assert [line.split(" on ")[0] for line in capsys.readouterr().out.splitlines()[:2]] == [
        "set order:1, order:2",
        "published t",
    ]


def test_a_publication_that_nobody_hears_says_so(publish: Publish, capsys: Output) -> None:
    assert publish("t", "{}", "--channel", "lonely") == 1
    said = capsys.readouterr()
    assert "0 subscribers" in said.out
    assert said.err.startswith("warning: nobody listens on lonely, so nothing was invalidated.")
    assert "INVALIDATOR_PUBSUB__CHANNELS" in said.err


@pytest.mark.parametrize(
    ("configured", "words", "channel"),
    [
        ("orders.*,users,items", [], "users"),
        ("orders.*,h[ae]llo,a?b", ["--channel", "hello"], "hello"),
        ("users", ["--channel", "items"], "items"),
        ("", [], "events"),
    ],
)
def test_the_channel_is_the_given_one_else_the_first_configured_that_is_no_glob(
    configured: str,
    words: list[str],
    channel: str,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    monkeypatch.setenv("INVALIDATOR_PUBSUB__CHANNELS", configured)
    publish("t", "{}", *words)
    assert f"on channel {channel}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "option"),
    [("PUBSUB__CHANNELS", "--channel"), ("KAFKA__TOPICS", "--topic")],
)
def test_an_event_that_nobody_could_read_is_refused(
    setting: str,
    option: str,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    monkeypatch.setenv("INVALIDATOR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("INVALIDATOR_KAFKA__TOPICS", "^orders.*")
    monkeypatch.setenv(f"INVALIDATOR_{setting}", "^orders.*")
    assert publish("t", "{}") == 2
    assert capsys.readouterr().err == (
        "invalidator: only patterns are read (^orders.*), so the event needs a name that "
        f"matches: {option} NAME\n"
    )


# --- the effect ---


def test_a_set_key_is_awaited_and_its_rule_is_named(
    redis_url: str, redis_now: redis.Redis, publish: Publish, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)

    def delete() -> None:
        with listening(redis_url, "events") as listener:
            ready.set()
            received(listener)
            redis_now.delete("o:1")

    ready = threading.Event()
    daemon = threading.Thread(target=delete)
    daemon.start()
    ready.wait(60)
    monkeypatched = publish("order.updated", '{"id": 1}', "--set", "o:1=x", "--json")
    daemon.join()
    assert monkeypatched == 0
    told = json.loads(capsys.readouterr().out)
    (effect,) = told["effects"]
    assert (effect["name"], effect["rule"], told["missing"]) == ("o:1", "orders", [])
    assert 0 < effect["ms"] < 60_000


def test_an_event_without_effect_says_what_to_check(
    redis_url: str, publish: Publish, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    with listening(redis_url, "events"):
        assert publish("order.updated", '{"id": 1}', "--set", "o:2=x") == 1
    assert capsys.readouterr().err == (
        "no effect within 0.2 s: key o:2 still exists\n"
        "For this event, the rules here name o:1.\n"
        "Check:\n"
        "  invalidator status                does a daemon run, and read this?\n"
        "  invalidator explain EVENT         do the rules name it?\n"
        "  invalidator dead list --since 1m  was the event rejected?\n"
    )


def test_to_wait_without_any_names_is_refused(
    publish: Publish, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    assert publish("other", "{}", "--wait") == 2
    assert "the rules name nothing for this event" in capsys.readouterr().err


# --- the envelope ---


@pytest.mark.parametrize(
    ("envelope", "event"),
    [
        ("{type: eventType, data: payload}", {"eventType": "order.updated", "payload": {"id": 1}}),
        (
            "{type: '{table}.{op}', data: record.new}",
            {"table": "order", "op": "updated", "record": {"new": {"id": 1}}},
        ),
        ("{type: '[0]', data: '[1]'}", ["order.updated", {"id": 1}]),
        (
            "{format: cloudevents}",
            {"specversion": "1.0", "type": "order.updated", "data": {"id": 1}},
        ),
    ],
)
def test_an_event_is_built_by_the_envelope_of_the_rules(
    envelope: str, event: Any, redis_url: str, publish: Publish, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(f"envelope: {envelope}\n{RULES}")
    with listening(redis_url, "events") as listener:
        assert publish("order.updated", '{"id": 1}') == 0
        sent: Any = received(listener)
    if isinstance(event, list):
        assert sent == event
    else:
        assert sent | event == sent


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        ("{type: headers.kind}", "a message over pub/sub has no headers"),
        ("{format: debezium}", "send one with --raw"),
        ("{type: '{table}/{op}'}", "which order.updated does not fit"),
    ],
)
def test_an_event_that_the_rules_could_not_read_is_refused(
    envelope: str, said: str, publish: Publish, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "rules.yaml").write_text(f"envelope: {envelope}\n{RULES}")
    assert publish("order.updated", '{"id": 1}') == 2
    assert said in capsys.readouterr().err


def test_a_whole_event_is_sent_as_it_is(redis_url: str, publish: Publish, capsys: Output) -> None:
    with listening(redis_url, "events") as listener:
        assert publish("--raw", '{"type": "t", "x": 1.10}') == 0
        message = until_sync(lambda: listener.get_message(timeout=1.0), what="the event")
    assert message["data"] == b'{"type": "t", "x": 1.10}'
    assert capsys.readouterr().out == (
        f"published t on channel events: 1 subscriber\n  {redis_url}\n"
    )


def test_keys_go_to_the_cache_and_events_to_the_source(
    redis_now: redis.Redis,
    publish: Publish,
    start_redis: Callable[..., RedisServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = start_redis()
    monkeypatch.setenv("INVALIDATOR_SOURCE_REDIS_URL", source.url)
    with listening(source.url, "events") as listener:
        publish("t", "{}", "--set", "k=v")
        assert received(listener)["type"] == "t"
    assert redis_now.get("k") == b"v"


def test_a_redis_url_on_the_command_line_stands_for_both(
    redis_url: str, redis_now: redis.Redis, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REDIS_URL", "SOURCE_REDIS_URL"):
        monkeypatch.setenv(f"INVALIDATOR_{name}", "redis://127.0.0.1:1/0")
    with listening(redis_url, "events") as listener:
        publish("t", "{}", "--set", "k=v", "--redis-url", redis_url)
        assert received(listener)["type"] == "t"
    assert redis_now.get("k") == b"v"


def test_data_may_come_from_a_file_or_from_standard_input(
    redis_url: str, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "order.json").write_text('{"from": "file"}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}')))
    with listening(redis_url, "events") as listener:
        assert publish("t", f"@{tmp_path / 'order.json'}") == 0
        assert received(listener)["data"] == {"from": "file"}
        assert publish("t", "-") == 0
        assert received(listener)["data"] == {"from": "stdin"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"orderId": }',
            ', at line 1, column 13\n  {"orderId": }\n              ^\n',
        ),
        ('{\n "a": 1,\n "b" 2\n}', ', at line 3, column 6\n   "b" 2\n       ^\n'),
        ("", ", at line 1, column 1\n  \n  ^\n"),
        ("{'a': 1}", ", at line 1, column 2\n  {'a': 1}\n   ^\n"),
    ],
)
def test_data_that_is_not_json_is_shown_with_the_place(
    text: str, said: str, publish: Publish, capsys: Output
) -> None:
    assert publish("t", text) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("invalidator: the data is not JSON: ")
    assert shown.endswith(said)


def test_a_mistake_in_the_middle_of_a_long_line_is_shown_with_what_is_around_it(
    publish: Publish, capsys: Output
) -> None:
    assert publish("t", '{"a": "' + "x" * 5000 + '" "b"}') == 2
    *_, shown, caret = capsys.readouterr().err.splitlines()
    assert len(shown) < 100
    assert shown[caret.index("^")] == '"'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["t", "[1]"],
            'the data is not a JSON object such as {"id": 1}: [1]',
        ),
        (
            ["t", "{}", "--to", "pubsub", "--stream", "orders"],
            "--to pubsub cannot be used with --stream",
        ),
        (
            ["t", "{}", "--stream", "orders", "--record-key", "k"],
            "--stream cannot be used with --record-key",
        ),
        (["t", "{}", "--header", "a=b"], "--header: a message over pub/sub has no headers"),
        (["t", "{}", "--header", "ab"], "--header takes NAME=VALUE, found 'ab'"),
        (["t", "{}", "--set", "key"], "--set takes KEY=VALUE, found 'key'"),
        (["t", "{}", "--set", "=value"], "--set takes KEY=VALUE, found '=value'"),
        (["t", "@/nowhere.json"], "/nowhere.json: cannot be read: No such file or directory"),
    ],
)
def test_arguments_that_cannot_be_used_say_why(
    words: list[str], said: str, publish: Publish, capsys: Output, redis_now: redis.Redis
) -> None:
    assert publish(*words) == 2
    assert capsys.readouterr().err == f"invalidator: {said}\n"
    assert redis_now.dbsize() == 0


def test_a_redis_that_is_away_is_named_without_its_password(
    publish: Publish, capsys: Output
) -> None:
    assert publish("t", "{}", "--redis-url", "redis://me:hunter2@127.0.0.1:1/0") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("invalidator: redis://me:***@127.0.0.1:1/0: ")
    assert len(shown.splitlines()) == 1
    assert "connection refused" in shown


def test_a_redis_that_refuses_the_password_is_one_line_without_it(
    publish: Publish, capsys: Output, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis(config={"requirepass": "swordfish"})
    url = f"redis://:hunter2@127.0.0.1:{server.port}/0"
    assert publish("t", "{}", "--redis-url", url) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"invalidator: redis://:***@127.0.0.1:{server.port}/0: ")
    assert len(shown.splitlines()) == 1
    assert "hunter2" not in shown
