from __future__ import annotations

import json

import pytest

from fleet_lab.sinks.api import SinkUrl
from fleet_lab.sinks.console import ConsoleSink
from tests.unit.fleet_lab.sinks.ports import RecordingPort


async def test_the_console_gets_a_line_per_status(capsys: pytest.CaptureFixture[str]) -> None:
    port, sink = RecordingPort(), ConsoleSink(SinkUrl("console:"))
    await sink.open(port)
    sink.publish(1, b'{"a": "\x1b[2J\xff"}\n')
    await port.saw("answered")
    await sink.close()
    (line,) = capsys.readouterr().out.splitlines()
    entry = json.loads(line)
    assert (entry["id"], entry["number"], entry["status"]) == (
        "left_button", 1, '{"a": "\x1b[2J\\xff"}\n',
    )  # fmt: skip
    assert "\x1b" not in line
