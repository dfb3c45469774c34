"""A row that was rejected looks like a dead letter of the daemon's."""

from invalidator import layout
from invalidator.cache.behind import Flush, FlushRejected
from invalidator.cache.behind.letters import letter
from invalidator.deadletters.entry import fields_of, letter_of
from invalidator.model import Fault, Record, Rejection

ROW = Flush("views", "token:3", {"about": 7}, failures=2)


def stored() -> dict[bytes, bytes]:
    _, stream, _, *words = letter(layout.DEAD_LETTERS, ROW, FlushRejected("no such page"))
    assert stream == layout.DEAD_LETTERS
    parts = [word.encode() if isinstance(word, str) else bytes(word) for word in words]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_daemons_tools_read_it() -> None:
    found = letter_of(b"1-0", stored())
    assert found.record.source == "write-behind"
    assert found.record.origin == "views"
    assert found.record.key == b"about"
    assert found.record.headers == (("value", b"7"),)
    assert found.attempts == 1
    message = "FlushRejected: no such page"
    assert found.faults == (Fault("flush-rejected", message, None, "views"),)


def test_a_replay_by_rules_leaves_it_alone() -> None:
    assert letter_of(b"1-0", stored()).lacks == "it holds no event"


def test_it_has_the_fields_that_the_daemon_writes() -> None:
    record = Record("kafka", "orders", "0@1", None, key=b"k")
    theirs = fields_of(Rejection(record, None, (Fault("e", "m"),)), "", 0)
    assert [name.decode() for name in stored()] == [name for name, _ in theirs]
