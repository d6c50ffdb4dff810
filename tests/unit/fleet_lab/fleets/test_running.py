from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.fleets.running import IN_PROCESS_MAX, RunningFleet, encode_payload
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.sinks.api import Sink
from tests.unit.fleet_lab.fleets.stand_ins import Walker


class Silent(Device):
    """A device of a test."""


def test_small_fleets_run_here_and_large_ones_in_a_process_per_core() -> None:
    assert 0 == RunningFleet("cars", "io", size=IN_PROCESS_MAX).workers
    assert RunningFleet("cars", "io", size=IN_PROCESS_MAX + 1).workers > 0
    assert 3 == RunningFleet("cars", "io", workers=3).workers


def test_a_seed_is_chosen_when_none_is_given() -> None:
    assert 7 == RunningFleet("cars", "io", seed=7).spec.seed
    assert RunningFleet("cars", "io").spec.seed != RunningFleet("cars", "io").spec.seed


def test_a_class_without_a_name_works_here_but_not_in_a_worker() -> None:
    class Local(Device): ...

    RunningFleet("cars", Local)
    with pytest.raises(LabError, match="define it at the top of a file"):
        RunningFleet("cars", Local, workers=1)


def test_a_cluster_needs_workers() -> None:
    with pytest.raises(LabError, match="0 workers cannot run a fleet on 'ray'"):
        RunningFleet("cars", "io", on="ray", workers=0)


async def test_a_specification_is_run_as_it_is(tmp_path: Path) -> None:
    spec = FleetSpec("cars", "io", 3, f"file:{tmp_path}/x", seed=5, options={"a": 1})
    fleet = RunningFleet.of(spec)
    assert spec is fleet.spec
    await fleet.start()
    with pytest.raises(LabError, match="fleet cars runs already"):
        await fleet.start()
    row = fleet.ps()
    assert ("cars", 3, 3, 5) == (row["name"], row["size"], row["connected"], row["seed"])
    assert [0, 0] == [meter.size_bytes for meter in fleet.meters]
    await fleet.stop()
    await fleet.stop()
    assert not fleet.is_running


async def test_a_sink_class_of_ones_own(tmp_path: Path) -> None:
    class Own(Sink):
        @property
        def can_publish(self) -> bool:
            return True

        async def open(self, port: object) -> None:
            self._port = port
            port.connected()

        def publish(self, number: int, payload: bytes) -> None:
            heard.append(payload)
            self._port.answered(number, b"", True)

        async def close(self) -> None: ...

    heard: list[bytes] = []
    fleet = RunningFleet("cars", Walker, sink=Own, load="closed")
    await fleet.start()
    await fleet.stop()
    assert heard


async def test_link_of_an_unknown_device_is_one_line(tmp_path: Path) -> None:
    fleet = RunningFleet("cars", Silent, size=2, sink=f"file:{tmp_path}/x")
    await fleet.start()
    with pytest.raises(LabError, match="there is no device 'cars/3' in cars"):
        await fleet.set_link("LTE", ids=["cars/3"])
    await fleet.stop()


def test_commands_are_bytes_text_or_json() -> None:
    texts = [encode_payload(payload) for payload in (b"x", "ž", {"lit_up": True})]
    assert [b"x", "ž".encode(), b'{"lit_up": true}'] == texts
