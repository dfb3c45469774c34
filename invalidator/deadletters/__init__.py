"""Dead letters: events that could not be applied, and why."""

from typing import TYPE_CHECKING

from invalidator.deadletters.entry import Letter, fields_of
from invalidator.deadletters.redact import Redactor
from invalidator.deadletters.stream import DeadLetters
from invalidator.settings import Settings

if TYPE_CHECKING:
    from invalidator.deadletters.kafka_topic import TopicLetters

__all__ = ["DeadLetters", "Letter", "Redactor", "fields_of", "letters_of"]


def letters_of(settings: Settings) -> "DeadLetters | TopicLetters":
    """Return where dead letters are written: a Redis stream or a Kafka topic."""
    if not settings.dead_letters.topic:
        return DeadLetters.of(settings)
    from invalidator.deadletters.kafka_topic import TopicLetters  # loads Kafka's client

    return TopicLetters.of(settings)
