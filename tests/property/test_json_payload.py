"""Fast reading of JSON gives the verdicts of the standard library, text for text."""

from __future__ import annotations

import json
from typing import NoReturn

from hypothesis import example, given
from hypothesis import strategies as st

from module_gateway.modules.json_payload import MAX_DEPTH, Json, read
from module_gateway.protocol.errors import ModuleError

REFUSED = object()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**60), 10**60)
    | st.floats()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
dumped = st.builds(
    lambda value, is_ascii: json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "replace"),
    values,
    st.booleans(),
)
numbers = st.from_regex(rb"[ -]?[0-9]{0,25}(\.[0-9]{0,25})?([eE][-+]?[0-9]{0,4})?", fullmatch=True)
crumbs = st.lists(
    st.sampled_from(
        [
            *(bytes((byte,)) for byte in b'[]{},:" \t\n\r\x00\x1f/\\u0dD8eE+-.1tfn\xff\xc3\xa9'),
            *(b"true", b"null", b"NaN", b"-Infinity", b'"\\ud83d', b'\\ude00"', b'"a":', b"1e999"),
        ]
    ),
    max_size=12,
).map(b"".join)


def pieces(texts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Texts with one byte more, less or different."""
    return st.builds(
        lambda text, at, size, new: text[: at % (len(text) + 1)] + new + text[at + size :],
        texts,
        st.integers(0, 40),
        st.integers(0, 2),
        st.binary(max_size=2),
    )


def deep(levels: int) -> bytes:
    return b'[{"a":' * (levels // 2) + b"1" + b"}]" * (levels // 2)


def verdict_of_the_standard_library(payload: bytes) -> object:
    def refuse(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        value: Json = json.loads(payload.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return REFUSED
    return REFUSED if depth(value) > MAX_DEPTH else value


def depth(value: Json) -> int:
    levels, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        levels += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return levels


@given(dumped | numbers | crumbs | pieces(dumped) | st.binary(max_size=12))
@example(b"1e999")
@example(b"-1e999")
@example(b'"\\ud800"')
@example(b'{"a":1,"b":2,"a":3}')
@example(b"18446744073709551616")
@example(b"9" * 4300)
@example(b"9" * 4301)
@example(b"1" * 400)
@example(b"0." + b"1" * 900)
@example(b"-0")
@example(b"-0.0")
@example(deep(32))
@example(deep(34))
@example(deep(100_000))
@example(b'"\x7f"')
@example(b'\xef\xbb\xbf{"a": 1}')
def test_verdict_is_that_of_the_standard_library(payload: bytes) -> None:
    try:
        verdict: object = read(payload)
    except ModuleError:
        verdict = REFUSED
    expected = verdict_of_the_standard_library(payload)
    # As text: 1 and 1.0 and True differ, and the order of keys counts.
    assert (expected is REFUSED) == (verdict is REFUSED)
    assert repr(expected) == repr(verdict)
