"""CloudEvents 1.0: structured, with the attributes around `data`; and binary, in headers."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final

from invalidator.errors import Rejected
from invalidator.rules.envelope.parse import parse
from invalidator.rules.envelope.reading import Reading

# Of headers: Kafka's, those of HTTP as streams and bridges copy them, and those of AMQP.
_PREFIXES: Final = ("ce_", "ce-", "Ce-", "cloudEvents:", "cloudEvents_")
TYPES: Final = frozenset(prefix + "type" for prefix in _PREFIXES) | {"Ce-Type"}
CORE: Final = frozenset(
    [
        *("specversion", "type", "id", "source", "time", "subject"),
        *("datacontenttype", "dataschema", "data", "data_base64"),
    ]
)


def attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Return the attributes of an event in binary mode; empty if it is not in binary mode."""
    found = {
        # Kafka knows null
        name[12 if name[1] == "l" else 3 :].lower(): (value or b"").decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(_PREFIXES)
    }
    return found if "type" in found else {}


def binary(data: object, found: dict[str, Any]) -> Reading:
    if not found["type"]:
        raise Rejected("the type in the headers is empty", error="no-type")
    return Reading(found["type"], data if isinstance(data, dict) else {}, found)


def structured(event: dict[str, Any]) -> Reading:
    kind = event.get("type")
    if not isinstance(kind, str) or not kind:
        raise Rejected("the CloudEvent has no type", error="no-type")
    data = event.get("data")
    if data is None and "data_base64" in event:
        data = _decoded(event["data_base64"])
    return Reading(kind, data if isinstance(data, dict) else {}, event)


def _decoded(text: object) -> object:
    try:
        return parse(base64.b64decode(str(text), validate=True))
    except (binascii.Error, ValueError) as error:
        raise Rejected(f"data_base64 is not JSON: {error}", error="not-json") from error


def extensions(event: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that CloudEvents does not define."""
    if "specversion" not in event:
        return {}
    return {name: value for name, value in event.items() if name not in CORE}
