"""JSON to Python's values. Integers keep all their digits: a name is made of them."""

import json
import math
import re
import sys
from contextlib import suppress
from typing import Any, Final, NoReturn

import msgspec

decode_json: Final = msgspec.json.Decoder().decode
_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps without its other half


def parse(raw: bytes | str) -> Any:
    """Raises ValueError where it is no JSON, with words for a person."""
    try:
        return decode_json(raw)
    except msgspec.ValidationError:  # a number beyond all floats is JSON; rules seldom read it
        return _leniently(_text(raw))
    except msgspec.DecodeError as error:
        with suppress(ValueError):  # said by the usual way
            if _HALF.search(text := _text(raw)):
                return _leniently(text)
        raise ValueError(str(error).removeprefix("JSON is malformed: ")) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _leniently(text: str) -> Any:
    """Also with numbers beyond all floats, and texts that were cut in the middle of a character.

    JavaScript cuts so. It writes what is left to Redis as U+FFFD, and so do Go and .NET.
    """
    try:
        found = json.loads(text, parse_int=_integer, parse_constant=_refuse)
        if not _HALF.search(text):
            return found
        units = json.dumps(found, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
        return json.loads(units.decode("utf-16-le", "replace"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode()


def _integer(digits: str) -> int | float:
    """Infinite where Python refuses to read it, as floats are."""
    most = sys.get_int_max_str_digits()
    return int(digits) if not most or len(digits) < most else math.inf


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
