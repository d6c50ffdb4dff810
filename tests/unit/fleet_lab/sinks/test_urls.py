from __future__ import annotations

import sys

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.sinks.api import DevicePort, Sink, SinkUrl
from fleet_lab.sinks.urls import SCHEMES, expand, sink_factory


class OwnSink(Sink):
    can_publish = True

    async def open(self, port: DevicePort) -> None: ...

    def publish(self, number: int, payload: bytes) -> None: ...

    async def close(self) -> None: ...


def test_every_example_makes_its_sink() -> None:
    for scheme, known in SCHEMES.items():
        sink = sink_factory(known.example)()
        assert sink.url.scheme == scheme
        assert type(sink).__name__ == known.path.partition(":")[2]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("fleet-protocol://gw", SinkUrl("fleet-protocol://gw", "fleet-protocol", "gw", 8888, "")),
        ("mqtt://b:9/a/{id}", SinkUrl("mqtt://b:9/a/{id}", "mqtt", "b", 9, "/a/{id}")),
        ("websocket://[::1]:5/", SinkUrl("ws://[::1]:5/", "ws", "::1", 5, "/")),
        ("console:", SinkUrl("console:", "console", "", 0, "")),
        ("file:a/b.jsonl", SinkUrl("file:a/b.jsonl", "file", "", 0, "a/b.jsonl")),
    ],
)
def test_a_url_is_taken_apart(text: str, url: SinkUrl) -> None:
    assert sink_factory(text)().url == url


def test_a_sink_of_ones_own_is_found_by_its_path() -> None:
    sink = sink_factory(f"{__name__}:OwnSink?speed=3")()
    assert type(sink).__name__ == "OwnSink"
    assert sink.url.path == "speed=3"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("mqt://x/y", "'mqt' is none of .*; did you mean 'mqtt'"),
        ("", "'' is none of"),
        ("fleet-protocol:", "the host is missing; write for example fleet-protocol://127.0.0.1"),
        ("fleet-protocol://h:99999", "Port out of range"),
        ("mqtt://h", "what comes after the host is missing"),
        ("mqtt://h/{idd}", "has a placeholder that is none of the device's"),
        ("mqtt://h/{", "has a placeholder"),
        ("file:", "no path"),
        ("no.such.package:Class", "cannot import 'no.such.package:Class': "),
        ("fleet_lab.sinks.api:Missing", "there is no 'Missing' in fleet_lab.sinks.api"),
        ("fleet_lab.devices.api:Device", "is no subclass of fleet_lab.Sink"),
    ],
)
def test_a_bad_sink_is_one_line(text: str, what: str) -> None:
    with pytest.raises(LabError, match=rf"^sink '.*': .*{what}") as caught:
        sink_factory(text)
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplefix", None)
    for module in ("fleet_lab.sinks.fix", "fleet_lab.sinks.fix_session"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(LabError, match=r"needs simplefix, which is not installed; type: pip"):
        sink_factory("fix://127.0.0.1:1")


def test_placeholders_are_the_devices_own() -> None:
    device = Device("cars/1", None, {"module": 7, "device_type": 2})
    assert expand("a/{id}/{role}/{module}/{device_type}", device) == "a/cars/1/cars_1/7/2"
