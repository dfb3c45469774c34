"""The dead letters: events that could not be applied, and why, for a person to work with."""

from invalidator.deadletter.entry import Letter, fields_of
from invalidator.deadletter.redact import Redactor
from invalidator.deadletter.stream import DeadLetters

__all__ = ["DeadLetters", "Letter", "Redactor", "fields_of"]
