"""Lines for people: short, calm, and of one form for everything that runs together."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator

import pytest

from fleet_lab.lines import Lines
from module_gateway.protocol.identity import Device
from module_gateway.runtime.text_lines import LastWords, for_file, for_terminal, text_value

EVENT = {
    "time": "2026-11-20T15:04:05.123456Z",
    "level": "warning",
    "event": "device_closed",
    "device": "1/1/autonomy",
    "detail": "it's late",
    "retry_in_s": None,
    "changed": {},
}
HEAD = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (debug|info |warn |error|fatal) [a-z_]+( |$)")


@pytest.fixture
def _in_prague(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_in_prague")
def test_a_line_has_the_local_time_of_day_level_event_and_fields() -> None:
    assert for_terminal(EVENT, is_coloured=False) == (
        '16:04:05.123 warn  device_closed device=1/1/autonomy detail="it\'s late"'
    )


def test_a_line_of_a_file_has_the_full_time_and_the_component() -> None:
    assert for_file(EVENT, "internal_server").startswith(
        "2026-11-20T15:04:05.123456Z warn  internal_server device_closed device=1/1/autonomy "
    )


def test_a_traceback_follows_its_line() -> None:
    fields = {**EVENT, "exception": "Traceback\n  x"}

    assert for_terminal(fields, is_coloured=False).splitlines()[1:] == ["Traceback", "  x"]


def test_virtual_devices_write_lines_of_the_same_form() -> None:
    out = io.StringIO()
    lines, device = Lines(out), Device.of(1001, 0, "left_button")
    lines.connected(device)
    lines.answered(device, b"", b'{"lit_up": true}', 0.01)
    lines.disconnected(device, "closed")
    lines.failed(device, "refused")
    lines.write(None, "end", "2 sent")
    ours = for_terminal(EVENT, is_coloured=False)

    for line in (*out.getvalue().splitlines(), ours):
        assert HEAD.match(line), line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain/1:2", "plain/1:2"),
        ("two words", "'two words'"),
        ("it's", '"it\'s"'),
        ("'\"", "'\\'\"'"),
        ("", "''"),
        (True, "true"),
        (1.5, "1.5"),
        (["a", "b.c"], "a,b.c"),
        ((1, 2), "[1,2]"),
        ({"a": {"secret": 1}, "b": 2}, "a,b"),
    ],
)
def test_values_are_bare_where_that_is_clear(value: object, text: str) -> None:
    assert text_value(value) == text


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ((), ""),
        (("", "Error: Address already in use", ""), "Error: Address already in use"),
        (
            (
                "15:04:05.123 error failed reason='cannot listen on x: it\\'s in use' port=1",
                "15:04:05.124 info  stopped exit_code=1",
            ),
            "cannot listen on x: it\\'s in use",
        ),
        (("15:04:05.123 error metrics_port_unusable port=1",), "metrics_port_unusable port=1"),
        (("15:04:05.123 error a error=one", "15:04:05.124 error b reason=two"), "two"),
        (
            ('{"level": "error", "event": "failed", "reason": "no bus"}', '{"level": "info"}'),
            "no bus",
        ),
        (("{not json", "[1]", "stopped"), "stopped"),
    ],
)
def test_the_last_words_of_a_process_say_why_it_ended(lines: tuple[str, ...], cause: str) -> None:
    words = LastWords()
    for line in lines:
        words.heard(line)

    assert words.cause() == cause
