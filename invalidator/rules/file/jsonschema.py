"""The language as a JSON Schema, so that editors complete and check rules files."""

import json
from typing import Any

from invalidator.rules.file import schema as shape


def schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of invalidator",
        "description": "Which cache entries are invalidated by which events.",
        **shape.FILE.schema(),
    }


def text() -> str:
    """As it is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
