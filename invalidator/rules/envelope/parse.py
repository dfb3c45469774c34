"""JSON to Python's values. Integers keep all their digits: a name is made of them."""

import json
import math
import re
import sys
from typing import Any, Final, NoReturn

import msgspec

decode_json: Final = msgspec.json.Decoder().decode
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps half of a pair


def parse(raw: bytes | str) -> Any:
    """Return the value, or raise a ValueError with words for a person."""
    try:
        return decode_json(raw)
    except msgspec.DecodeError as error:
        try:
            return _leniently(raw if isinstance(raw, str) else raw.decode())
        except (ValueError, RecursionError):
            raise ValueError(str(error).removeprefix("JSON is malformed: ")) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _leniently(text: str) -> Any:
    """Read also numbers beyond all floats, and texts cut in the middle of a character.

    JavaScript cuts so. It writes what is left to Redis as U+FFFD, and so do Go and .NET.
    """
    found = json.loads(text, parse_int=_integer, parse_constant=_reject)
    if not _HALF.search(text):
        return found
    units = json.dumps(found, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    return json.loads(units.decode("utf-16-le", "replace"))


def _integer(digits: str) -> int | float:
    """Return infinity where Python will not read the integer, as for floats."""
    most = sys.get_int_max_str_digits()
    return int(digits) if not most or len(digits) < most else math.inf


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
