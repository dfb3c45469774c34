"""One assignment of Kafka partitions to us: what was read under it, settled, and read again."""

import asyncio
from collections.abc import Mapping

from aiokafka import OffsetAndMetadata, TopicPartition

from invalidator.model import Slice
from invalidator.sources.kafka.offsets import Birth
from invalidator.sources.trail import Back, Stand

Backs = dict[TopicPartition, Back[int]]


class Epoch:
    """One assignment of partitions."""

    def __init__(
        self,
        generation: int = -1,
        birth: Birth | None = None,
        positions: Mapping[TopicPartition, int] | None = None,
        stands: Mapping[TopicPartition, Stand[int]] | None = None,
    ) -> None:
        self.generation = generation  # the group's own number of it
        self.birth = birth  # what every commit carries
        self.next = dict(positions or {})  # what to read next, for each of our partitions
        self.stands = dict(stands or {})  # with the caches
        self.era = ""  # of the caches; up to it we have gone back where that was needed
        self.round = 0  # how often we went back, or started over
        self._back = 0  # in which round we went back: what was read before is not read again
        self.settled: dict[TopicPartition, int] = {}  # what is to be committed
        # Where we would go on: what is settled, committed or not. It falls with its log only.
        self.done = dict(self.next)
        self.aside: dict[TopicPartition, str] = {}  # what cannot be read for now, and why
        self.passed: dict[TopicPartition, int] = {}  # positions that moved on without records
        self.refused: list[Slice] = []  # what was passed over and has to be a dead letter
        self.cut: dict[TopicPartition, int] = {}  # since which round their logs are others
        self.drained = asyncio.Event()
        self.drained.set()
        self._given = 0  # batches given out and not settled

    def give(self) -> None:
        self._given += 1
        self.drained.clear()

    def settle(self, offsets: Mapping[TopicPartition, int], now: float, round_: int) -> None:
        again = round_ >= self._back
        for tp, offset in offsets.items():
            if tp in self.cut and round_ < self.cut[tp]:
                continue
            over = self.stands[tp].settle(offset, now, again=again)
            if offset > self.done[tp] or over or (tp in self.cut and offset == self.done[tp]):
                self.done[tp] = self.settled[tp] = max(offset, self.done[tp])
        self.set_aside()

    def start_over(self, tp: TopicPartition, beginning: int) -> None:
        """The log no longer has our position. Where it begins below, it ends below, too: it was
        cut, or is another one, and a commit of before would pass over what it comes to hold."""
        cut = beginning < self.next[tp]
        self.passed[tp] = self.next[tp] = beginning
        self.aside.pop(tp, None)
        if cut:
            self.round += 1
            self.cut[tp] = self.round
            self.done[tp] = beginning
            self.settled.pop(tp, None)
            stand = self.stands[tp]
            self.stands[tp] = Stand(self.era or stand.era, stand.trail.anew(beginning))

    def behind(self, era: str) -> list[TopicPartition]:
        """Partitions of which an earlier era is known only."""
        return [tp for tp, stand in self.stands.items() if stand.behind(era)]

    def eras_behind(self, era: str) -> set[str]:
        """Whose ends have to be known before we go back."""
        return {self.stands[tp].era for tp in self.behind(era)}

    def go_back(self, since: Mapping[str, float], era: str) -> Backs:
        """What is to be read again, by what the caches remember of each earlier era."""
        self.era = era
        self.round += 1
        self._back = self.round
        backs: Backs = {}
        for tp in self.behind(era):
            stand = self.stands[tp]
            if back := stand.go_back(since[stand.era], era, self.next[tp]):
                backs[tp] = back
                self.next[tp] = back.position
                self.passed.pop(tp, None)  # it is met again
                self.aside.pop(tp, None)
            else:
                self.settled[tp] = self.done[tp]  # a commit says that it is of this era now
        return backs

    def commits(
        self, offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """These positions, and what travels with them."""
        return {
            tp: OffsetAndMetadata(
                offset, self.birth.dump(tp.topic, self.stands[tp]) if self.birth else ""
            )
            for tp, offset in offsets.items()
        }

    def set_aside(self) -> None:
        """A rebalance waits no longer for one that was given out: settled, or held for who knows
        how long."""
        self._given -= 1
        if not self._given:
            self.drained.set()

    @property
    def given(self) -> int:
        return self._given
