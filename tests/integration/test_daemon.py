"""The daemon in this process, where a test can break it."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from invalidator.daemon.daemon import Crashed, Daemon
from invalidator.errors import ConfigError
from invalidator.model import Outcome
from invalidator.rules.file.reload import Watcher
from invalidator.settings import load
from invalidator.targets.store import Application
from tests.backends import until
from tests.integration.piping import RULES, order

if TYPE_CHECKING:
    import redis


@pytest.fixture
def daemon(redis_url: str, tmp_path: Path) -> Daemon:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    settings = load(redis_url=redis_url, pubsub__channels="orders", admin__port="0")
    return Daemon(settings, Watcher(path))


async def break_it(daemon: Daemon, error: Exception, now: "redis.Redis") -> None:
    """Run it, and let an event meet that error."""

    usual = Application.apply_names

    async def apply_names(application: Application) -> Outcome:
        """The start of the source is a batch, too, in which nothing is named."""
        if application._todo:
            raise error
        return await usual(application)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Application, "apply_names", apply_names)
        running = asyncio.create_task(daemon.run())
        await until(lambda: now.publish("orders", order("secret-7")))
        await asyncio.wait_for(running, 60)


async def test_an_unexpected_error_ends_the_daemon_and_says_where_but_quotes_no_event(
    daemon: Daemon, redis_now: "redis.Redis"
) -> None:
    with capture_logs() as logs, pytest.raises(Crashed) as crashed:
        await break_it(daemon, KeyError("order:single:secret-7"), redis_now)
    said = str(crashed.value)
    assert re.search(r"KeyError at \S+/invalidator/[\w/]+\.py:\d+", said)
    assert "secret" not in said + str(logs)
    assert [entry["event"] for entry in logs][-1] == "crashed"
    assert isinstance(crashed.value.__cause__, KeyError), "--debug shows it"


async def test_an_error_that_explains_itself_is_raised_as_it_is(
    daemon: Daemon, redis_now: "redis.Redis"
) -> None:
    with pytest.raises(ConfigError, match="never mind"):
        await break_it(daemon, ConfigError("never mind"), redis_now)
