"""How an event is wrapped: from a decoded record to its type, its data and what stands around.

The plain case of the hot path is inlined in the rules' loop; whatever it cannot tell comes here.
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
