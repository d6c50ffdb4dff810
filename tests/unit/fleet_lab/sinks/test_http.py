from __future__ import annotations

from pathlib import Path

from fleet_lab.devices.api import Device
from fleet_lab.sinks.http import HttpSink
from fleet_lab.sinks.urls import sink_factory
from tests.contract.sink_peers import HttpPeer
from tests.unit.fleet_lab.sinks.ports import RecordingPort


async def test_an_answer_that_is_no_success_fails_the_status_and_keeps_the_connection(
    tmp_path: Path,
) -> None:
    peer, port = HttpPeer(tmp_path), RecordingPort()
    await peer.start()
    sink = sink_factory(peer.url)()
    await sink.open(port)
    peer.status_line = "503 Service Unavailable"
    sink.publish(1, b"{}")
    assert await port.saw("failed") == [(1, "503 Service Unavailable")]
    peer.status_line = "204 No Content"
    sink.publish(2, b"{}")
    assert await port.saw("answered") == [(2, b"", True)]
    await sink.close()
    await peer.stop()
    assert port.all("disconnected") == []


async def test_an_id_is_quoted_in_the_path(tmp_path: Path) -> None:
    peer, port = HttpPeer(tmp_path), RecordingPort(Device("a b/č?"))
    await peer.start()
    sink = sink_factory(peer.url)()
    assert isinstance(sink, HttpSink)
    await sink.open(port)
    sink.publish(1, b"{}")
    await port.saw("answered")
    await sink.close()
    await peer.stop()
    assert peer.paths == ["/fleet/a%20b/%C4%8D%3F"]
