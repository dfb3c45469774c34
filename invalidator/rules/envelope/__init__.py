"""Unwrap events: from a record to the event's type, its data and the fields around them.

The fast path of planning handles the plain cases itself; all others come here.
"""

from invalidator.rules.envelope.cloudevents import extensions
from invalidator.rules.envelope.hints import hint
from invalidator.rules.envelope.parse import decode_json
from invalidator.rules.envelope.reading import (
    AUTO,
    EVERY,
    FORMATS,
    OLD_ROWS,
    OPENED,
    Envelope,
    Format,
    OldRows,
    Reading,
)
from invalidator.rules.envelope.rows import may_be_large
from invalidator.rules.envelope.unwrap import (
    decode,
    elements_of,
    headers_at,
    in_binary_mode,
    unwrap,
)
from invalidator.rules.envelope.whole_rows import WholeRows

__all__ = [
    "AUTO",
    "EVERY",
    "FORMATS",
    "OLD_ROWS",
    "OPENED",
    "Envelope",
    "Format",
    "OldRows",
    "Reading",
    "WholeRows",
    "decode",
    "decode_json",
    "elements_of",
    "extensions",
    "headers_at",
    "hint",
    "in_binary_mode",
    "may_be_large",
    "unwrap",
]
