"""Follows topics that come and go while we read."""

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer

from invalidator.sources.describe import describe
from invalidator.sources.kafka.batches import NAME
from invalidator.sources.kafka.client import Timing
from invalidator.sources.kafka.membership import Membership
from invalidator.sources.kafka.topics import Wanted

log = structlog.get_logger("invalidator")


class TopicWatch:
    """Belongs to one consumer, and says what it is subscribed to."""

    def __init__(
        self, consumer: AIOKafkaConsumer, member: Membership, wanted: Wanted, timing: Timing
    ) -> None:
        self._consumer = consumer
        self._member = member
        self._wanted = wanted
        self._timing = timing
        self._topics: list[str] = []
        self._look_at = 0.0

    def begin(self, topics: list[str]) -> None:
        self._topics = topics
        self._member.missing = self._wanted.missing(topics)
        self._member.subscribe(topics)

    async def look(self) -> str:
        """Now and then. Why nothing is left to read; empty while something is."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return ""
        self._look_at = now + self._timing.look_every
        known = map(self._consumer.partitions_for_topic, self._topics)
        if all(known) and not self._wanted.may_grow and not self._member.missing:
            return ""  # to ask for all topics costs the more the more there are
        try:
            async with asyncio.timeout(self._timing.answer):
                existing = await self._consumer.topics()
        except Exception as error:  # noqa: BLE001 - whether the brokers are there others ask
            log.debug("kafka-topics", reason=describe(error))
            return ""
        return self._follow(existing)

    def _follow(self, existing: set[str]) -> str:
        self._member.missing = self._wanted.missing(existing)
        chosen = self._wanted.choose(existing)
        if chosen and chosen != self._topics:
            log.info("topics", source=NAME, reads=chosen, before=self._topics)
            self._topics = chosen
            self._member.subscribe(chosen)
        self._member.say_ready()
        return "" if chosen else self._member.missing
