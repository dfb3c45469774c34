"""JSON to Python's values. Integers keep all their digits: a name is made of them."""

import json
import math
import sys
from typing import Any, Final, NoReturn

import msgspec

decode_json: Final = msgspec.json.Decoder().decode


def parse(raw: bytes | str) -> Any:
    """Raises ValueError where it is no JSON, with words for a person."""
    try:
        return decode_json(raw)
    except msgspec.ValidationError:  # a number beyond all floats is JSON; rules seldom read it
        return _with_huge_numbers(raw)
    except msgspec.DecodeError as error:
        raise ValueError(str(error).removeprefix("JSON is malformed: ")) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _with_huge_numbers(raw: bytes | str) -> Any:
    """As strict as the usual way: Python's own also takes NaN, and halves of surrogate pairs."""
    text = raw if isinstance(raw, str) else raw.decode()
    try:
        found = json.loads(text, parse_int=_integer, parse_constant=_refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None
    return found


def _integer(digits: str) -> int | float:
    """Infinite where Python refuses to read it, as floats are."""
    most = sys.get_int_max_str_digits()
    return int(digits) if not most or len(digits) < most else math.inf


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
