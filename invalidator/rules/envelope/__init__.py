"""Unwrap events: from a record to the event's type, its data and the fields around them.

The fast path of planning handles the plain cases itself; all others come here.
"""

from invalidator.rules.envelope.cloudevents import extensions
from invalidator.rules.envelope.debezium import may_be_large, whole_rows
from invalidator.rules.envelope.parse import decode_json
from invalidator.rules.envelope.reading import AUTO, EVERY, FORMATS, Envelope, Format, Reading
from invalidator.rules.envelope.unwrap import decode, in_binary_mode, unwrap

__all__ = [
    "AUTO",
    "EVERY",
    "FORMATS",
    "Envelope",
    "Format",
    "Reading",
    "decode",
    "decode_json",
    "extensions",
    "in_binary_mode",
    "may_be_large",
    "unwrap",
    "whole_rows",
]
