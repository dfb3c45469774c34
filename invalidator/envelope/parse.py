"""JSON to Python's values. Integers keep all their digits: a name is made of them."""

import json
from typing import Any, Final

import msgspec

decode_json: Final = msgspec.json.Decoder().decode


def parse(raw: bytes | str) -> Any:
    """Raises ValueError where it is no JSON, with words for a person."""
    try:
        return decode_json(raw)
    except msgspec.ValidationError:  # a number beyond all floats is JSON; rules seldom read it
        return json.loads(raw)
    except msgspec.DecodeError as error:
        raise ValueError(str(error).removeprefix("JSON is malformed: ")) from None
    except RecursionError:
        raise ValueError("nested too deep") from None
