from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.sinks.fix import FixSink
from fleet_lab.sinks.urls import sink_factory
from tests.contract.sink_peers import FixPeer
from tests.unit.fleet_lab.sinks.ports import RecordingPort


@pytest.fixture
def port() -> RecordingPort:
    return RecordingPort(Device("probe"))


async def test_it_logs_on_and_out(tmp_path: Path, port: RecordingPort) -> None:
    peer = FixPeer(tmp_path)
    await peer.start()
    sink = sink_factory(peer.url)()
    assert isinstance(sink, FixSink)
    await sink.open(port)
    sink.publish(1, b"{}")
    await port.saw("answered")
    await sink.close()
    await peer.until_kinds(4)
    await peer.stop()
    assert peer.kinds == [b"A", b"B", b"1", b"5"]


async def test_it_sends_heartbeats_while_nothing_else_is_to_say(
    tmp_path: Path, port: RecordingPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_lab.sinks.fix.HEARTBEAT_S", 0.02)
    peer = FixPeer(tmp_path)
    await peer.start()
    sink = sink_factory(peer.url)()
    await sink.open(port)
    await peer.until_kinds(3)
    await sink.close()
    await peer.stop()
    assert peer.kinds[:3] == [b"A", b"0", b"0"]


async def test_a_status_that_is_rejected_fails(tmp_path: Path, port: RecordingPort) -> None:
    peer = FixPeer(tmp_path)
    peer.rejects = True
    await peer.start()
    sink = sink_factory(peer.url)()
    await sink.open(port)
    sink.publish(1, b"{}")
    assert await port.saw("failed") == [(1, "rejected: not today")]
    assert sink.can_publish
    await sink.close()
    await peer.stop()


async def test_a_listener_that_logs_nobody_on_is_one_line(
    tmp_path: Path, port: RecordingPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_lab.sinks.fix.OPEN_TIMEOUT_S", 0.05)
    peer = FixPeer(tmp_path)
    peer.is_mute = True
    await peer.start()
    with pytest.raises(LabError, match=r"^cannot reach fix://.*: no answer in time$"):
        await sink_factory(peer.url)().open(port)
    await peer.stop()
