"""What the consumers in Python share: they say when they have their partitions."""

import sys

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener


class Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: object) -> None:
        print("assigned", file=sys.stderr, flush=True)


async def consumer(bootstrap: str, topic: str, group: str, **options: object) -> AIOKafkaConsumer:
    """Started, and on its way into the group."""
    made = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **options,
    )
    await made.start()
    made.subscribe([topic], listener=Assigned())
    return made
