"""What happens to the system while it is read."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

import redis

from tests.backends import until_sync
from tests.faults.caches import at
from tests.system.stage import System

Fault = Callable[[System, random.Random], None]


def kill_reader(system: System, draw: random.Random) -> None:
    number = draw.choice([*system.readers])
    _kill(system.readers[number])
    system.start_reader(number)


def kill_writer(system: System, draw: random.Random) -> None:
    number = draw.choice([*system.writers])
    _kill(system.writers[number])
    system.start_writer(number)


def kill_daemon(system: System, draw: random.Random) -> None:
    system.daemon.close()
    time.sleep(draw.uniform(0, 1))
    system.start_daemon()
    system.await_daemon()


def freeze_reader(system: System, draw: random.Random) -> None:
    """Loads that are under way go on much later, after others have taken their leases."""
    reader = system.readers[draw.choice([*system.readers])]
    reader.send_signal(signal.SIGSTOP)
    time.sleep(draw.uniform(0.5, 5))
    reader.send_signal(signal.SIGCONT)


def freeze_daemon(system: System, draw: random.Random) -> None:
    system.daemon.signal(signal.SIGSTOP)
    time.sleep(draw.uniform(0.5, 3))
    system.daemon.signal(signal.SIGCONT)


def evict(system: System, draw: random.Random) -> None:
    """For a while, Redis has room for less than it holds: entries, stamps and versions go."""
    with at(system.primary.port) as client:
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", int(used * draw.uniform(0.8, 0.97)))
        time.sleep(draw.uniform(0.2, 2))
        client.config_set("maxmemory", 0)


def half_open(system: System, draw: random.Random) -> None:
    """The connections of half of the readers stand, and nothing passes."""
    system.proxy.silent = True
    time.sleep(draw.uniform(1, 5))
    system.proxy.heal()


def lost_replies(system: System, draw: random.Random) -> None:
    """Redis has done what it was asked, and nobody hears of it."""
    system.proxy.swallow_replies = draw.randint(5, 40)
    time.sleep(0.5)
    system.proxy.heal()


def freeze_primary(system: System, draw: random.Random) -> None:
    """Not for so long that the sentinels elect another."""
    system.primary.freeze()
    time.sleep(draw.uniform(0.05, 0.25))
    system.primary.thaw()


def fail_over(system: System, _: random.Random) -> None:
    """A replica that has missed the last deletions takes over.

    What Redis forgets is not promised until the daemon has read again: nothing is claimed from
    before the failover until all of the topic was applied again. Then all of it is, as before.
    """
    before = system.rewinds()
    old, new = system.primary, system.replica
    new.freeze()
    with at(old.port) as client:
        client.client_kill_filter(_type="replica")
    time.sleep(0.3)
    system.listener.claim_nothing()
    old.kill()
    new.thaw()
    until_sync(lambda: system.primary_port() == new.port, what="the replica takes over")
    system.proxy.target = new.port
    system.proxy.reset()
    system.listener.listen_to(new.port)
    system.board.pause(paused=True)
    until_sync(lambda: system.rewinds() > before, what="the daemon reads again")
    system.await_end_of_topic()
    system.listener.claim()
    system.board.pause(paused=False)
    system.primary, system.replica = new, old
    old.config["replicaof"] = f"127.0.0.1 {new.port}"
    old.start()
    until_sync(lambda: _follows(old.port), what="the old primary follows")


def _follows(port: int) -> bool:
    try:
        with at(port) as client:
            return bool(client.info("replication").get("master_link_status") == "up")
    except redis.RedisError:
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


FAULTS: Sequence[Fault] = (  # besides failovers
    kill_reader,
    kill_writer,
    kill_daemon,
    freeze_reader,
    freeze_daemon,
    evict,
    half_open,
    lost_replies,
    freeze_primary,
)
