"""The sabotages: small edits of the source, and the rows that must turn red by each.

Code that changes takes its sabotage along: give `old` as it reads now. It must occur exactly once
in its file.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Sabotage:
    name: str
    rows: str  # as `python -m tests.faults --rows` takes them
    edits: tuple[Edit, ...]


def sabotage(name: str, rows: str, *edits: tuple[str, str, str]) -> Sabotage:
    return Sabotage(name, rows, tuple(Edit(*each) for each in edits))


_APPLY = "invalidator/targets/redis/apply.py"
_TAGS = "invalidator/targets/redis/tag_work.py"
_KEYS = "invalidator/targets/redis/keys.py"
_PIPELINE = "invalidator/pipeline/pipeline.py"
_TICKETS = "invalidator/pipeline/tickets.py"
_SETTLEMENT = "invalidator/pipeline/settlement.py"
_KAFKA = "invalidator/sources/kafka/reread.py"
_MEMBERSHIP = "invalidator/sources/kafka/membership.py"
_STREAM = "invalidator/sources/stream/source.py"
_PUBSUB = "invalidator/sources/pubsub/source.py"
_STORE = "invalidator/targets/store.py"
_EDGE = "invalidator/targets/edge/service.py"
_VARNISH = "invalidator/targets/edge/varnish.py"

SABOTAGES = (
    # --- names ---
    sabotage(
        "patterns-ignored",
        "12",
        (_APPLY, "        if names.patterns:\n", "        if False:\n"),
    ),
    sabotage(
        "tags-ignored",
        "12",
        (_APPLY, "        if names.tags:\n", "        if False:\n"),
    ),
    sabotage(
        "stamps-kept",
        "12",
        (_APPLY, "if keys := [*names.keys, *tag_stamps]:", "if keys := [*names.keys]:"),
    ),
    sabotage(
        "versions-not-raised",
        "12",
        (_APPLY, "        if names.versions:\n", "        if False:\n"),
    ),
    sabotage(
        "members-of-sorted-sets-kept",
        "12",
        (_TAGS, "reply[::2]  # every other one is a score", "[]"),
    ),
    sabotage(
        "only-the-first-page-of-a-tag",
        "12",
        (
            _TAGS,
            "return {work: at for work, at in following.items() if work not in ended}, ended",
            "return {}, list(following)",
        ),
    ),
    sabotage(
        "no-second-pass",
        "12",
        (_TICKETS, "for delay, names in sorted(passes.items()):", "for delay, names in ():"),
    ),
    # --- acknowledging ---
    sabotage(
        "acknowledged-before-applied",
        "2",
        (
            _PIPELINE,
            "            applied = await self._apply(work)\n",
            "            await self._source.settle(work.batch.ended())\n"
            "            applied = await self._apply(work)\n",
        ),
        (_SETTLEMENT, "        await self._source.settle(applied.batch)\n", ""),
    ),
    sabotage(
        "dead-letters-not-written",
        "12",
        (
            _SETTLEMENT,
            "            await until_available(put, self._part, who=self._source.name)\n",
            "            del put\n",
        ),
    ),
    sabotage(
        "positions-not-committed-at-the-end",
        "3",
        (
            _MEMBERSHIP,
            "            async with asyncio.timeout(LAST_COMMIT_WITHIN):\n"
            "                await self.commit_positions()\n",
            "            pass\n",
        ),
    ),
    sabotage(
        "a-batch-lost-in-a-rebalance",
        "6",
        (
            _MEMBERSHIP,
            "                await self._drain()\n",
            "                for tp, partition in self.assignment.partitions.items():\n"
            "                    self.assignment._settle(tp, partition.next)\n",
        ),
    ),
    # --- a Redis that refuses ---
    sabotage(
        "readonly-taken-for-success",
        "24",
        (
            _KEYS,
            '        return await self._server.ask([("UNLINK", *chunk) for chunk in chunks])\n',
            '        asked = [("UNLINK", *chunk) for chunk in chunks]\n'
            "        replies = await self._server.send(asked)\n"
            '        if any("ReadOnly" in type(reply).__name__ for reply in replies):\n'
            "            return [0] * len(asked)\n"
            "        return await self._server.ask(asked)\n",
        ),
    ),
    # --- a Redis that forgets ---
    sabotage(
        "kafka-not-read-again",
        "29",
        (_KAFKA, "    if not identity or assignment.identity == identity:\n", "    if True:\n"),
    ),
    sabotage(
        "streams-not-read-again",
        "29",
        (_STREAM, "            await self._go_back()\n", ""),
    ),
    sabotage(
        "channels-not-given-again",
        "29",
        (_PUBSUB, '        if before in ("", current):\n', "        if True:\n"),
    ),
    # --- the edge ---
    sabotage(
        "edge-refusals-taken-for-success",
        "37",
        (_EDGE, "    if 200 <= response.status < 300:\n", "    if True:\n"),
    ),
    sabotage(
        "edge-not-awaited",
        "39",
        (_STORE, "        return [failure for failures in found for failure in failures]\n", ""),
        (
            _STORE,
            "await all_of(self._forget(edge, names) for edge, names in self.parts)\n",
            "[asyncio.create_task(self._forget(*each)) for each in self.parts]\n"
            "        return []\n",
        ),
    ),
    sabotage(
        "varnish-believed-whatever-it-says",
        "36",
        (_VARNISH, "        if response.status == 200:\n", "        if response.status:\n"),
    ),
)
