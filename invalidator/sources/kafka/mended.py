"""What aiokafka does that it should not, mended for all its clients in this process."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiokafka.client
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest


class _AsksOnly(MetadataRequest):  # type: ignore[misc]  # it ships no types
    """The library's own would create anew a topic that was deleted while we read it."""

    def __init__(self, topics: Sequence[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


_connect = aiokafka.client.create_conn


async def _closed_when_given_up(*where: Any, **how: Any) -> AIOKafkaConnection:
    """A client's first connection is known to nobody but the task that asks its first question:
    when that is cancelled, it would stay open."""
    connection = await _connect(*where, **how)
    if "on_close" not in how:
        connection.send = _giving_up(connection)
    return connection


def _giving_up(connection: AIOKafkaConnection) -> Any:
    ask = AIOKafkaConnection.send

    async def send(*request: Any, **how: Any) -> Any:
        try:
            return await ask(connection, *request, **how)
        except asyncio.CancelledError:
            connection.close()
            raise

    return send


aiokafka.client.MetadataRequest = _AsksOnly
aiokafka.client.create_conn = _closed_when_given_up
