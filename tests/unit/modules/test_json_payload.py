"""Reading hostile JSON."""

from __future__ import annotations

import pytest

from module_gateway.modules.json_payload import (
    MAX_DEPTH,
    is_number,
    read,
    read_object,
    write,
    write_spaced,
)
from module_gateway.protocol.errors import ModuleError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"null", None),
        (b"[]", []),
        (b' {"a": [1, 2.5, true, "\xc3\xa9"]} ', {"a": [1, 2.5, True, "é"]}),
    ],
)
def test_reads_json_in_utf8(text: bytes, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"{",
        b"{'a': 1}",
        b"\xff\xfe",
        b'"\xed\xa0\x80"',
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
        b"NaN",
        b'{"speed": Infinity}',
        b"[-Infinity]",
        b"9" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[1] 2",
    ],
)
def test_everything_else_is_a_module_error(payload: bytes) -> None:
    with pytest.raises(ModuleError):
        read(payload)


def test_depth_is_limited_exactly() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert read(b"[" + b"[]," * 200 + b"[]]") == [[]] * 201
    assert read(deepest) != []
    with pytest.raises(ModuleError, match="deeper"):
        read(b"[" + deepest + b"]")
    with pytest.raises(ModuleError, match="deeper"):
        read(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1))


def test_brackets_in_text_are_no_levels() -> None:
    assert read(b'["' + b"[" * 500 + b'"]') == ["[" * 500]


@pytest.mark.parametrize("payload", [b"[]", b"null", b"1", b'"a"', b"true"])
def test_object_is_required_where_one_is_asked_for(payload: bytes) -> None:
    with pytest.raises(ModuleError, match="object is expected"):
        read_object(payload)


def test_both_spellings() -> None:
    assert write({"a": [1, 2]}) == b'{"a":[1,2]}'
    assert write_spaced({"a": [1, 2]}) == b'{"a": [1, 2]}'


def test_half_a_surrogate_survives_reading_and_writing() -> None:
    assert write(read(b'"\\ud800"')) == b'"\\ud800"'


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, {"a": b""}, 10**5000], ids=type
)
def test_what_json_cannot_say_is_a_module_error(value: object) -> None:
    with pytest.raises(ModuleError):
        write(value)


def test_value_in_itself_is_a_module_error() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ModuleError):
        write(endless)


@pytest.mark.parametrize("value", [0, -1, 1.5, 10**400])
def test_finite_numbers_are_numbers(value: object) -> None:
    assert is_number(value)


@pytest.mark.parametrize("value", [True, None, "1", float("inf"), float("nan"), [], {}])
def test_others_are_not(value: object) -> None:
    assert not is_number(value)
