"""Which server answers: another one, or the same begun anew, may have forgotten what we deleted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from invalidator.connect.talk import pack, talk

_ABOUT = [pack(("INFO", "server")), pack(("INFO", "replication"))]
_FIELD = re.compile(rb"^(run_id|master_replid):(.*?)\r?$", re.M)


@dataclass(frozen=True, slots=True)
class Identity:
    """Both change with a failover; a restart changes the process and, without a replica that
    took over, the history."""

    process: str  # run_id: new with each start
    history: str  # the replication id: that of the data; new where it may have been lost


async def identities(servers: Mapping[str, Redis]) -> dict[str, Identity]:
    """Of each, by its address. Raises what `converse` raises, and its errors."""
    return {address: await _identity(server) for address, server in servers.items()}


async def _identity(server: Redis) -> Identity:
    fields: dict[bytes, bytes] = {}
    for reply in await talk(server, _ABOUT):
        if isinstance(reply, Exception):
            raise reply
        fields.update(_FIELD.findall(reply))
    return Identity(fields[b"run_id"].decode(), fields[b"master_replid"].decode())
