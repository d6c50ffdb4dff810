"""Reading and writing JSON payloads of devices that may be broken or hostile.

Whatever the bytes are, `read` and `write` give their result or raise `ModuleError`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn, TypeGuard

import msgspec

from module_gateway.protocol.errors import ModuleError

MAX_DEPTH: Final = 32
"""Levels of nesting. The deepest known payload has five (a mission command's positions)."""

_decode: Final = msgspec.json.Decoder().decode
_DENSE: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_SPACED: Final = json.JSONEncoder(allow_nan=False, separators=(", ", ": "))

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def read(payload: bytes) -> Json:
    """The value of a JSON text in UTF-8.

    Refused with `ModuleError`: other encodings, NaN and infinities, numbers of thousands of
    digits, more than MAX_DEPTH levels, no value at all (so also `b""`).
    """
    value: Json
    try:
        value = _decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = _read_exactly(payload)
    # Every level costs an opening bracket, so few brackets prove that it is flat enough.
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        raise ModuleError(f"JSON nested deeper than {MAX_DEPTH} levels")
    return value


def _read_exactly(payload: bytes) -> Json:
    """The verdict on what msgspec refuses.

    It is twenty times faster and takes nothing that is refused here, but not all that is taken:
    no number beyond a float's range, no half of a surrogate pair.
    """
    try:
        value: Json = json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise ModuleError(f"not JSON: {type(problem).__name__}") from problem
    return value


def read_object(payload: bytes) -> dict[str, Json]:
    """Like `read`, but only an object will do."""
    value = read(payload)
    if not isinstance(value, dict):
        raise ModuleError(f"JSON {type(value).__name__} where an object is expected")
    return value


def write(value: object) -> bytes:
    """JSON text in ASCII without spaces, as the native modules write it."""
    return _write(value, _DENSE)


def write_spaced(value: object) -> bytes:
    """JSON text in ASCII with a space after `,` and `:`, as the Python modules write it."""
    return _write(value, _SPACED)


def _write(value: object, encoder: json.JSONEncoder) -> bytes:
    try:
        return encoder.encode(value).encode("ascii")
    except (ValueError, TypeError, RecursionError) as problem:
        raise ModuleError(f"not expressible in JSON: {type(problem).__name__}") from problem


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite JSON number; true and false are none."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_too_deep(value: Json) -> bool:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(outer: Json) -> Iterator[Json]:
    contents: Iterable[Json] = ()
    if isinstance(outer, dict):
        contents = outer.values()
    elif isinstance(outer, list):
        contents = outer
    return (inner for inner in contents if isinstance(inner, list | dict))
