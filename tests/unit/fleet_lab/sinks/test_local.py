from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.sinks.api import SinkUrl
from fleet_lab.sinks.console import ConsoleSink
from fleet_lab.sinks.file import FileSink
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


async def test_the_answer_never_comes_within_publish() -> None:
    port, sink = RecordingPort(), ConsoleSink(SinkUrl("console:"))
    await sink.open(port)
    sink.publish(1, b"{}")
    assert not sink.can_publish
    sink.publish(2, b"{}")
    assert port.said == [("connected",), ("failed", 2, "the last status is unanswered")]
    await sink.close()
    assert len(port.said) == 2


async def test_devices_share_a_file_or_have_one_each(tmp_path: Path) -> None:
    for path in ("all.jsonl", "{id}.jsonl"):
        for number in (1, 2):
            port = RecordingPort(Device(f"d{number}"))
            sink = FileSink(SinkUrl("file:", path=f"{tmp_path}/{path}"))
            await sink.open(port)
            sink.publish(number, b"{}")
            await port.saw("answered")
            await sink.close()
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["d1", "d2"]
    assert len((tmp_path / "d1.jsonl").read_text().splitlines()) == 1


async def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    sink = FileSink(SinkUrl("file:", path=f"{tmp_path}/no/such/file"))
    with pytest.raises(LabError, match=r"^cannot write .*/no/such/file: No such file or directory"):
        await sink.open(RecordingPort())


async def test_a_file_that_goes_away_fails_the_status(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    port, sink = RecordingPort(), FileSink(SinkUrl("file:", path=f"{folder}/x"))
    await sink.open(port)
    (folder / "x").unlink()
    folder.rmdir()
    sink.publish(1, b"{}")
    assert port.all("failed") == [(1, "No such file or directory")]
    assert sink.can_publish
