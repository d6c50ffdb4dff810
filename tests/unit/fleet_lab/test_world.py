from __future__ import annotations

import pytest

from fleet_lab.errors import LabError
from fleet_lab.faults import Processes
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Facts
from fleet_lab.links.conditions import LINKS, Conditions
from fleet_lab.world import LabWorld


class _Fleet:
    def __init__(self, done: list[str]) -> None:
        self.spec = FleetSpec("cars", "mission", 2)
        self.size = 2
        self.done = done

    async def scale(self, size: int) -> None:
        self.done.append(f"scale {size}")

    async def send(self, device_id: str, payload: bytes) -> None:
        self.done.append(f"{device_id} {payload!r}")

    async def set_link(self, conditions: Conditions, ids: None = None, share: float = 1.0) -> None:
        self.done.append(f"{conditions.delay_s} {share}")


class _Process:
    verbs = ("kill",)

    def __init__(self, done: list[str]) -> None:
        self.done = done

    async def act(self, verb: str) -> None:
        self.done.append(verb)


def _world(done: list[str], sent: int = 0) -> LabWorld:
    def scaled(fleet: str, size: int) -> None:
        done.append(f"{fleet} will have {size}")

    processes = Processes({"gateway": _Process(done)})
    return LabWorld({"cars": _Fleet(done)}, processes, lambda: Facts({"sent": sent}), scaled)


async def test_the_ledger_hears_of_a_new_size_before_the_fleet_has_it() -> None:
    done: list[str] = []
    await _world(done).scale("cars", 9)

    assert done == ["cars will have 9", "scale 9"]


async def test_a_command_goes_to_one_device_or_to_all() -> None:
    done: list[str] = []
    await _world(done).send("cars", "cars/2", b"x")
    await _world(done).send("cars", None, b"y")

    assert done == ["cars/2 b'x'", "cars/1 b'y'", "cars/2 b'y'"]


async def test_links_and_processes_are_reached() -> None:
    done: list[str] = []
    await _world(done).set_link("cars", LINKS["LTE"], 0.5)
    await _world(done).act("gateway", "kill")

    assert done == ["0.04 0.5", "kill"]


async def test_unknown_fleets_get_the_nearest_one() -> None:
    with pytest.raises(LabError, match=r"no fleet 'car'; did you mean 'cars'\?"):
        await _world([]).scale("car", 1)


@pytest.mark.parametrize(("sent", "holds"), [(3, False), (4, True)])
def test_a_condition_is_judged_on_what_was_measured_so_far(sent: int, *, holds: bool) -> None:
    assert _world([], sent).holds("sent > 3") is holds


def test_what_was_not_measured_does_not_hold() -> None:
    assert not _world([]).holds("lost == 0")
