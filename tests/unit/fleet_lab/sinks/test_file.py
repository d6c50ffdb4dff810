from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.sinks.api import SinkUrl
from fleet_lab.sinks.file import FileSink
from tests.unit.fleet_lab.sinks.ports import RecordingPort


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
