"""What people tell all daemons at once: a pause, and purges."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.backends import until_sync
from tests.e2e.process import DaemonProcess, run_program
from tests.integration.piping import AllowKeys, order

if TYPE_CHECKING:
    import redis


def test_a_pause_of_all_stops_those_that_run_and_those_that_start_later(
    rules_file: Path, redis_url: str, redis_now: "redis.Redis", allow_keys: AllowKeys
) -> None:
    allow_keys("invalidator:purges")
    given = {"RULES": str(rules_file), "REDIS_URL": redis_url, "PUBSUB__CHANNELS": "orders"}

    def paused(daemon: DaemonProcess) -> bool:
        return "all daemons are paused by " in daemon.admin("/readyz")[1]

    with closing(DaemonProcess(given)) as first, closing(DaemonProcess(given)) as second:
        for daemon in (first, second):
            daemon.await_ready()
        words = ("pause", "--all", "--why", "a restore", "--redis-url", redis_url)
        code, said = run_program(*words)
        assert (code, said.startswith("paused all daemons")) == (0, True), said
        with closing(DaemonProcess(given)) as late:
            for daemon in (first, second, late):
                until_sync(lambda: paused(daemon))  # noqa: B023
                assert daemon.metric("invalidator_paused") == 1

            def holds() -> bool:
                """A read that had begun before the pause may still take a message."""
                redis_now.publish("orders", order(0))
                members = (first, second, late)
                return all(each.metric("invalidator_lag_events") for each in members)

            until_sync(holds, what="messages wait in every daemon")
            redis_now.set("order:single:o1", "stale")
            redis_now.publish("orders", order(1))
            code, said = run_program("status", "--url", late.admin_url())
            assert (code, "all daemons are paused by " in said) == (1, True), said
            code, said = run_program(
                "resume", "--url", late.admin_url(), ADMIN__TOKEN="token-of-the-tests"
            )
            assert redis_now.exists("order:single:o1")
            assert run_program("resume", "--all", "--redis-url", redis_url)[0] == 0
            until_sync(lambda: not redis_now.exists("order:single:o1"))
            for daemon in (first, second, late):
                daemon.await_ready()
                assert [entry["why"] for entry in daemon.events("reading-paused")] == ["a restore"]
            assert late.stop() == 0
        code, said = run_program(
            *("purge", "--key", "order:single:o1", "--why", "wrong prices", "--yes"),
            RULES=str(rules_file),
            REDIS_URL=redis_url,
        )
        assert code == 0, said
        for daemon in (first, second):
            (told,) = until_sync(lambda: daemon.events("purge-announced"))  # noqa: B023
            assert (told["why"], told["keys"], "@" in told["who"]) == ("wrong prices", 1, True)
            assert daemon.stop() == 0


def test_a_pause_of_one_is_not_ended_with_that_of_all(
    rules_file: Path, redis_url: str, redis_now: "redis.Redis"
) -> None:
    token = "a-token-of-the-tests"
    given = {"RULES": str(rules_file), "REDIS_URL": redis_url, "PUBSUB__CHANNELS": "orders"}
    with closing(DaemonProcess(given | {"ADMIN__TOKEN": token})) as daemon:
        daemon.await_ready()
        url = daemon.admin_url()
        assert run_program("pause", "--url", url, ADMIN__TOKEN=token)[0] == 0
        assert run_program("pause", "--all", "--redis-url", redis_url)[0] == 0
        until_sync(lambda: "all daemons" in daemon.admin("/readyz")[1])
        assert run_program("resume", "--all", "--redis-url", redis_url)[0] == 0
        until_sync(lambda: "paused by a person" in daemon.admin("/readyz")[1])
        assert run_program("pause", "--all", "--redis-url", redis_url)[0] == 0
        until_sync(lambda: "all daemons" in daemon.admin("/readyz")[1])
        code, said = run_program("resume", "--url", url, ADMIN__TOKEN=token)
        assert (code, "`invalidator resume --all` ends that" in said) == (1, True)
        assert run_program("resume", "--all", "--redis-url", redis_url)[0] == 0
        daemon.await_ready()
        assert daemon.stop() == 0
