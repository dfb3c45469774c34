"""Where events are read from."""

from invalidator.settings.model import Settings


def origins(settings: Settings) -> tuple[str, ...]:
    """Topics, channels and streams, by their names, globs and expressions."""
    channels = settings.pubsub.channels + settings.pubsub.sharded_channels
    return settings.kafka.topics + channels + settings.streams.keys
