"""Whether partitions that have more to read get on. The library can stand still without a word."""

from collections.abc import Mapping

from aiokafka import TopicPartition

from invalidator.errors import InvalidatorError

REBUILDS = 3  # in a row, at the same position, until a new process is the better idea


class Stalled(InvalidatorError):  # noqa: N818 - a state of the client
    """Kafka has more for us, and the client does not give it, though it was built anew."""


class Progress:
    """Compares positions with those of a while ago."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._stands: dict[TopicPartition, tuple[int, float]] = {}  # where, and since when

    def look(
        self, now: float, at: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> list[TopicPartition]:
        """Those that have stood still for too long, though the log goes on."""
        behind = {tp: position for tp, position in at.items() if position < ends.get(tp, 0)}
        stands = {}
        for tp, position in behind.items():
            before, since = self._stands.get(tp, (-1, now))
            stands[tp] = (position, since if before == position else now)
        self._stands = stands
        return [tp for tp, (_, since) in stands.items() if now - since >= self._patience]

    def forget(self) -> None:
        """Nobody read: that nothing moves says nothing."""
        self._stands = {}


class Rebuilds:
    """How often a client was built anew because a partition stood still where it did before."""

    def __init__(self) -> None:
        self._stood: dict[TopicPartition, tuple[int, int]] = {}

    def count(self, tp: TopicPartition, position: int) -> None:
        """Raise Stalled when another one will not help."""
        before, times = self._stood.get(tp, (-1, 0))
        times = times + 1 if before == position else 1
        self._stood[tp] = (position, times)
        if times > REBUILDS:
            raise Stalled(
                f"{tp.topic}-{tp.partition} stands still at {position}, though Kafka has more, and "
                f"{REBUILDS} new clients did not help"
            )
