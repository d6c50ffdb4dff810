from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fleet_lab.devices.api import Device, State
from fleet_lab.errors import LabError
from fleet_lab.fleets.fleet import Fleet, deploy_device, deploy_fleet
from tests.unit.fleet_lab.gateways import gateway


class Lamp(Device):
    is_on = State(False)

    def on_command(self, payload: bytes) -> None:
        self.is_on = self.is_on or payload == b"on"  # the gateway's echo is a command too


@contextmanager
def gateway_of_another_thread() -> Iterator[str]:
    """The sink's URL; a script has no loop of its own either."""
    started: list[str] = []
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with gateway() as at:
            started.append(f"fleet-protocol://127.0.0.1:{at.port}")
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def sink() -> Iterator[str]:
    with gateway_of_another_thread() as url:
        yield url


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fleet_in_a_script(sink: str, workers: int) -> None:
    with Fleet("lamps", Lamp, size=3, sink=sink, load="50/s each", workers=workers) as lamps:
        lamps.scale(4)
        lamps.send("lamps/4", "on")
        assert lamps.telemetry("lamps/4")["state"]["is_on"]
        row = lamps.ps()
        while row["answered"] < 8 or row["connected"] < 4:
            lamps.wait(0.02)
            row = lamps.ps()
    assert ("lamps", 4, 4) == (row["name"], row["size"], row["connected"])
    assert 4 == sum(place["devices"] for place in row["places"])


def test_a_fleet_that_ended_can_start_again(sink: str) -> None:
    lamps = Fleet("lamps", Lamp, sink=sink)
    for _ in range(2):
        with lamps:
            assert 1 == lamps.ps()["connected"]
    with pytest.raises(LabError, match="fleet lamps does not run"):
        lamps.ps()


def test_deploy_one_device_by_its_id(sink: str) -> None:
    lamp = deploy_device(Lamp, "kitchen", sink=sink)
    lamp.send("kitchen", b"on")
    assert lamp.telemetry("kitchen")["state"]["is_on"]
    lamp.stop()
    lamp.stop()


def test_deploy_listed_devices_each_with_its_own(sink: str) -> None:
    plan = [{"id": "kitchen", "cls": Lamp}, {"options": {"role": "hall"}}, {}]
    lamps = deploy_fleet(plan, "lamps", sink=sink)
    try:
        assert "is_on" in lamps.telemetry("kitchen")["state"]
        assert "value" in lamps.telemetry("lamps/2")["state"]
        assert 3 == lamps.size
    finally:
        lamps.stop()


def test_conditions_change_while_running(sink: str) -> None:
    with Fleet("lamps", Lamp, size=2, sink=sink, load="50/s each") as lamps:
        lamps.set_link("OFFLINE", ids=["lamps/1"])
        first = lamps.telemetry("lamps/1")["answered"]
        second = lamps.telemetry("lamps/2")["answered"]
        while lamps.telemetry("lamps/2")["answered"] < second + 10:
            lamps.wait(0.02)
        assert lamps.telemetry("lamps/1")["answered"] <= first + 1
        lamps.set_link("CLEAR")
        while lamps.telemetry("lamps/1")["answered"] < first + 5:
            lamps.wait(0.02)


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"on": "moon"}, "a fleet runs on 'local', 'ray' or"),
        ({"sink": "telnet://x"}, "sink 'telnet://x'"),
        ({"load": "fast"}, "'fast' is no rate"),
        ({"link": "LTEE"}, "unknown preset 'LTEE'; did you mean 'LTE'?"),
        ({"size": -1}, "fleet lamps: -1 is no size"),
        ({"workers": -1}, "-1 workers cannot run a fleet"),
    ],
)
def test_a_wrong_plan_is_one_line(plan: dict[str, object], text: str) -> None:
    with pytest.raises(LabError) as raised:
        Fleet("lamps", Lamp, **plan).start()
    assert text in raised.value.text


def test_an_unknown_key_of_a_listed_device_is_named() -> None:
    with pytest.raises(LabError, match="device 1: unknown key 'idd'; there are id, cls"):
        deploy_fleet([{"idd": "x"}])


def test_a_failed_start_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(LabError, match=r"cannot reach a gateway at 127\.0\.0\.1:1:"):
        Fleet("lamps", Lamp, sink="fleet-protocol://127.0.0.1:1").start()
    assert before == threading.active_count()
