"""An export loses nothing: every entry comes back from its line byte for byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from module_gateway.module_handler.buffer.lines import (
    LineError,
    entry_of,
    iso_time,
    json_text,
    line_of,
)
from module_gateway.module_handler.outbox import Entry
from module_gateway.protocol.identity import Device

A = Device.of(1000, 0, "a", "Device A", 3)

CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ).flatmap(
        lambda value: st.sampled_from(
            [json.dumps(value), json.dumps(value, indent=1), json.dumps(value, ensure_ascii=False)]
        ).map(lambda text: text.encode("utf-8", "surrogatepass"))
    ),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DEVICES = st.builds(
    Device.of,
    st.integers(1, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    TEXTS,
    TEXTS,
    st.integers(-(2**31) + 1, 2**31 - 1),
)
ENTRIES = st.builds(
    Entry,
    st.integers(0, 2**63 - 1),
    DEVICES,
    CONTENTS,
    st.booleans(),
    st.booleans(),
    st.none(),
    st.integers(0, 253_402_300_799_999),
    st.just(0),
    st.none(),
)
FOLDS = st.builds(
    Entry,
    st.integers(0, 2**63 - 1),
    DEVICES,
    CONTENTS,
    st.booleans(),
    st.booleans(),
    CONTENTS,
    st.integers(0, 253_402_300_799_999),
    st.integers(0, 2**63 - 1),
    st.none(),
)


@given(ENTRIES | FOLDS)
@example(Entry(1, A, b'{"pressed":true,  "n": 1.50, "n": 2}'))
def test_every_entry_comes_back_from_its_line(entry: Entry) -> None:
    line = line_of(entry)
    assert entry == entry_of(line)
    assert line.isprintable()
    assert isinstance(json.loads(line), dict)


@given(ENTRIES | FOLDS)
def test_a_line_that_another_program_has_written_anew_means_the_same(entry: Entry) -> None:
    known, written = entry_of(line_of(entry)), entry_of(json.dumps(json.loads(line_of(entry))))
    assert known.device == written.device
    assert _meaning(known.status) == _meaning(written.status)


def _meaning(content: bytes) -> object:
    text = json_text(content)
    return content if text is None else json.loads(text)


def test_a_json_status_can_be_read_in_the_line() -> None:
    line = line_of(Entry(7, A, b'{"pressed":  true, "n": 1.50}', time_unix_ms=1_763_659_200_125))
    assert line == (
        '{"sequence": 7, "module": 1000, "type": 0, "role": "a", "name": "Device A", '
        '"priority": 3, "time": "2025-11-20T17:20:00.125Z", "status": '
        '{"pressed":  true, "n": 1.50}}'
    )


def test_flags_and_folds_are_told() -> None:
    fold = Entry(9, A, b"\x00", True, True, b"[1]", 0, 4)
    found = json.loads(line_of(fold))
    assert (True, True, 4, [1], "AA==") == (
        found["ends_registration"],
        found["repeat"],
        found["first_sequence"],
        found["error"],
        found["status_base64"],
    )


@pytest.mark.parametrize(
    "content", [b"", b"NaN", b"{'a': 1}", b"\xff", b"{}\n", b" 1", b"[" * 9999]
)
def test_what_is_no_json_in_one_line_is_base64(content: bytes) -> None:
    assert json_text(content) is None


def test_a_status_cannot_steer_the_terminal_of_who_reads_the_export() -> None:
    assert json_text('"\u202e"'.encode()) is None
    assert '"role": "\\u202e"' in line_of(Entry(1, Device.of(1, 0, "\u202e"), b"1"))


GOOD = {"module": 1, "type": 0, "role": "a", "time": "2025-11-20T17:20:00Z", "status": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"module": None}, "module is missing"),
        ({"module": 0}, "module is no number that fits"),
        ({"module": True}, "module is no number that fits"),
        ({"type": -1}, "type is no number that fits"),
        ({"type": "0"}, "type is no number that fits"),
        ({"role": 1}, "role is no text"),
        ({"name": "\ud800"}, "name is no text"),
        ({"time": "soon"}, "time is none"),
        ({"time": None}, "time is none"),
        ({"repeat": 1}, "repeat is neither true nor false"),
        ({"error_base64": "="}, "error_base64 is no base64"),
    ],
)
def test_a_line_that_is_no_entry_says_why(change: dict[str, object], said: str) -> None:
    assert entry_of(json.dumps(GOOD)).status == b"1"
    with pytest.raises(LineError, match=said):
        entry_of(json.dumps({**GOOD, **change}))


def test_a_line_without_a_status_is_refused() -> None:
    with pytest.raises(LineError, match="status is missing"):
        entry_of(json.dumps({key: GOOD[key] for key in GOOD if key != "status"}))


@pytest.mark.parametrize(
    "line",
    ["", "1", "[]", "{", '{"a"}', '{"a" 1}', "{1: 2}", '{"a": }', '{"a": 1', "{} {}", "[" * 9999,
     '{"a": ' + "[" * 9999],
)  # fmt: skip
def test_what_is_no_object_is_refused(line: str) -> None:
    with pytest.raises(LineError):
        entry_of(line)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_an_entry_or_refused(line: str) -> None:
    try:
        entry_of(line)
    except LineError:
        return
    assert line.lstrip()[0] == "{"


@pytest.mark.parametrize(
    ("unix_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**62, "9999-12-31T23:59:59.999Z"),
        (-(2**62), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc(unix_ms: int, expected: str) -> None:
    assert expected == iso_time(unix_ms)
