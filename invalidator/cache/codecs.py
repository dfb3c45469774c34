"""How values become bytes and come back as they were."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from math import isfinite
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec.inspect import CustomType, type_info

from invalidator.cache.entry import ABSENT, HEAD
from invalidator.cache.errors import CodecError, NotFound

PLAIN: Final = b"-"  # no packing
ZSTD: Final = b"z"
NONE: Final = b"null"  # the payload of a value that is absent: the loader returned None,
MISSING_ROW: Final = b"missing"  # or it raised NotFound


class Undecodable(Exception):  # noqa: N818 - a reader treats it as a miss
    """An entry holds something that this reader cannot decode."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to write values. For one of your own, `mark` is b"X"."""

    mark: bytes  # one letter in the entry: another one is a miss
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    plain: bytes = field(init=False)  # the letters of a value that is not packed

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", self.mark + PLAIN)


def json_codec(annotation: Any = Any) -> Codec:
    """Return the codec for JSON of a type: a Struct, dataclass, pydantic model or plain data."""
    if _is_pydantic(annotation):
        return _pydantic(annotation)
    decoder = msgspec.json.Decoder(_supported(annotation), dec_hook=_as_it_is)
    encode = msgspec.json.encode
    return Codec(b"J", _strict(encode) if _is_loose(annotation) else encode, decoder.decode)


def msgpack_codec(annotation: Any = Any) -> Codec:
    """Return the codec for MessagePack of a type."""
    decoder = msgspec.msgpack.Decoder(_supported(annotation), dec_hook=_as_it_is)
    return Codec(b"M", msgspec.msgpack.encode, decoder.decode)


def pickle_codec() -> Codec:
    """Return the codec for pickles. Whoever may write to Redis can then run code in the service."""
    return Codec(b"P", pickle.dumps, pickle.loads)


def raw_codec() -> Codec:
    """Return the codec for bytes as they are."""
    return Codec(b"R", bytes, bytes)


def packed(payload: bytes, compress_from: int) -> tuple[bytes, bytes]:
    """Return the letter of the packing, and the payload packed: by zstd where that is installed."""
    if not compress_from or len(payload) < compress_from or _zstd() is None:
        return PLAIN, payload
    smaller = bytes(_zstd().compress(payload))
    return (ZSTD, smaller) if len(smaller) < len(payload) else (PLAIN, payload)


def value_of(entry: bytes, start: int, codec: Codec) -> Any:
    """Return an entry's value, from `start` on; raise Undecodable, or NotFound as its load did."""
    if entry[:5] == ABSENT:
        if entry[start:] == MISSING_ROW:
            raise NotFound("there is no such row")
        return None
    try:
        if entry[5:7] == codec.plain:
            return codec.decode(entry[start:])
        if entry[5:7] == codec.mark + ZSTD and _zstd() is not None:
            return codec.decode(bytes(_zstd().decompress(entry[start:])))
    except Exception as error:
        raise Undecodable from error
    raise Undecodable


def value_start(line: bytes) -> int:
    """Return the offset of the value behind a line of stamps."""
    return HEAD + len(line) + 1


_PACKER: list[Any] = []


def _zstd() -> Any:
    """Return what packs by zstd; None where it is not installed."""
    if not _PACKER:
        try:
            _PACKER.append(import_module("cramjam").zstd)
        except ImportError:
            _PACKER.append(None)
    return _PACKER[0]


# --- what a type allows -------------------------------------------------------------------------


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for each in get_args(annotation) for part in _parts(each))]


def _is_pydantic(annotation: Any) -> bool:
    return any(hasattr(part, "__pydantic_core_schema__") for part in _parts(annotation))


def _pydantic(annotation: Any) -> Codec:
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def encode(value: Any) -> bytes:
        return adapter.dump_json(value, by_alias=True, round_trip=True)

    return Codec(b"J", encode, adapter.validate_json)


def _supported(annotation: Any) -> Any:
    try:
        known = not any(map(_is_custom, _parts(annotation)))
    except TypeError:
        known = False
    if not known:
        said = f"no codec knows {annotation!r}: annotate a msgspec Struct, a dataclass,"
        raise CodecError(f"{said} a pydantic model or plain data, or pass codec=")
    return annotation


def _is_custom(part: Any) -> bool:
    return part is not object and isinstance(part, type) and isinstance(type_info(part), CustomType)


def _as_it_is(_: type, value: Any) -> Any:
    return value  # of `object`, which msgspec does not know


def _is_loose(annotation: Any) -> bool:
    """Return whether the type does not say what comes back: then only plain JSON is exact."""
    bare = (Any, object, dict, list)
    return any(part in bare for part in _parts(annotation) if get_origin(part) is None)


def _strict(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def encode_plain(value: Any) -> bytes:
        _check_plain(value)
        return encode(value)

    return encode_plain


def _check_plain(value: Any) -> None:
    kind = type(value)
    if kind is dict:
        for key, each in value.items():
            if type(key) is not str:
                raise CodecError(f"a key of JSON is text, not {key!r}: {_ADVICE}")
            if type(each) not in _EXACT:
                _check_plain(each)
    elif kind is list:
        for each in value:
            if type(each) not in _EXACT:
                _check_plain(each)
    elif kind is float:
        if not isfinite(value):
            raise CodecError(f"JSON knows no {value}")
    elif kind not in _EXACT:
        raise CodecError(f"{kind.__name__} would not come back as it was: {_ADVICE}")


_EXACT: Final = frozenset({str, int, bool, type(None)})
_ADVICE: Final = "annotate what the loader returns, or pass codec="
