import pytest
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser

from invalidator.redisclient.errors import Meaning, Verdict, diagnose

UNAVAILABLE = [
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
    "ERR Script attempted to access a non local key in a cluster node script: " + 40 * "a",
    "MOVED 1234 127.0.0.1:7001",
    "ASK 1234 127.0.0.1:7001",
    "EXECABORT Transaction discarded because of previous errors.",
    "DENIED Redis is running in protected mode",
    "ERR unknown command 'UNLINK', with args beginning with: 'a'",
    "ERR max number of clients reached",
    "ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: -OOM command not",
    "NOPERM this user has no permissions to run the 'unlink' command",
    "NOPERM User default has no permissions to run the 'unlink' command",
    "ERR ACL failure in script: User u has no permissions to run the 'set' command",
]
PERMANENT = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "WRONGTYPE Operation against a key script: " + 40 * "a" + ", on @user_script:1.",
    "ERR Error running script (call to f_ab): @user_script:12: WRONGTYPE Operation against a key",
    "NOPERM this user has no permissions to access one of the keys used as arguments",
    "NOPERM No permissions to access a key",
    "ERR ACL failure in script: User u has no permissions to access the 'k' key",
    "CROSSSLOT Keys in request don't hash to the same slot",
]
UNKNOWN = ["ERR something nobody has seen", "ODDITY what is this", "", "ERR"]


def diagnose_reply(reply: str) -> Verdict:
    return diagnose(BaseParser.parse_error(reply))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("reply", UNAVAILABLE)
def test_a_server_that_refuses_everything_is_unavailable(reply: str) -> None:
    assert diagnose_reply(reply).meaning is Meaning.UNAVAILABLE


@pytest.mark.parametrize("reply", PERMANENT)
def test_what_can_never_work_on_a_key_is_permanent(reply: str) -> None:
    assert diagnose_reply(reply).meaning is Meaning.PERMANENT


@pytest.mark.parametrize("reply", UNKNOWN)
def test_any_other_reply_is_unknown(reply: str) -> None:
    assert diagnose_reply(reply).meaning is Meaning.UNKNOWN


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ConnectionError("Connection refused"),
        redis_errors.MaxConnectionsError("Too many connections"),
        redis_errors.TimeoutError("Timeout reading from socket"),
        redis_errors.ClusterError("TTL exhausted."),
        redis_errors.SlotNotCoveredError("Slot 3 not covered"),
        redis_errors.InvalidResponse("Protocol error"),
        TimeoutError(),
        ConnectionResetError(),
        RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"),
    ],
)
def test_a_server_out_of_reach_is_unavailable(error: Exception) -> None:
    assert diagnose(error).meaning is Meaning.UNAVAILABLE


def test_what_cannot_be_sent_at_all_is_permanent() -> None:
    assert diagnose(redis_errors.DataError("Invalid input")).meaning is Meaning.PERMANENT


def test_a_lost_script_is_told_apart() -> None:
    assert (
        diagnose_reply("NOSCRIPT No matching script. Please use EVAL.").meaning is Meaning.NOSCRIPT
    )


def test_a_programming_error_is_unknown_and_has_a_name() -> None:
    verdict = diagnose(KeyError("x"))
    assert (verdict.meaning, verdict.code) == (Meaning.UNKNOWN, "keyerror")


def test_the_message_names_no_key_that_the_pipeline_added() -> None:
    text = "Command # 1 (SET secret (1)) of pipeline caused error: WRONGTYPE Operation against"
    verdict = diagnose(redis_errors.ResponseError(text))
    assert (verdict.code, verdict.message) == ("wrongtype", "WRONGTYPE Operation against")
    assert verdict.meaning is Meaning.PERMANENT


def test_an_unavailable_verdict_becomes_the_exception_with_the_servers_name() -> None:
    verdict = diagnose(TimeoutError("too slow"))
    assert str(verdict.unavailable("cache at localhost:6379")) == (
        "cache at localhost:6379: too slow"
    )


@pytest.mark.parametrize(
    "quoted",
    [", with args beginning with: 'order:7' ", " with args beginning with: `order:7`, `b`"],
)
def test_a_message_names_the_command_and_none_of_its_arguments(quoted: str) -> None:
    found = diagnose(redis_errors.ResponseError(f"unknown command 'UNLINK'{quoted}"))
    assert found.message == "unknown command 'UNLINK'"
