from __future__ import annotations

import json

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.devices.builtin import (
    BOARDS,
    BUILTIN,
    CarAccessory,
    Example,
    Io,
    Mission,
    Transparent,
    builtin_of_number,
)
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import LabError
from module_gateway.modules.catalog import load_modules
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS

HERE = {"latitude": 1.0, "longitude": 2.0, "altitude": 3.0}
A, B = ({"name": name, "position": HERE} for name in "AB")


def made(make: type[Device], device_type: int | None = None, seed: int = 1) -> Device:
    options = {} if device_type is None else {"device_type": device_type}
    return make("d", Stream(seed), options)


def statuses(device: Device, count: int) -> list[bytes]:
    sent: list[bytes] = []
    device.attach(lambda _, payload: sent.append(payload))
    for _ in range(count):
        device.report_sample()
    assert device.errors == 0, device.last_error
    return sent


def command(device: Device, action: str, stops: list[object]) -> None:
    device.answered(json.dumps({"action": action, "route": "", "stops": stops}).encode())


@pytest.mark.parametrize("name", BUILTIN)
def test_the_gateways_own_module_accepts_every_status(name: str) -> None:
    make = BUILTIN[name]
    module = load_modules(DEFAULT_MODULE_PATHS, {})[make.module]
    for device_type in BOARDS if name == "io" else (make.device_type,):
        assert module.is_device_type_supported(device_type)
        for status in statuses(made(make, device_type), 60):
            assert module.status_data_valid(status, device_type)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_same_seed_gives_the_same_statuses(name: str) -> None:
    make = BUILTIN[name]
    assert statuses(made(make, seed=7), 30) == statuses(made(make, seed=7), 30)
    assert statuses(made(make, seed=7), 30) != statuses(made(make, seed=8), 30)


@pytest.mark.parametrize("make", [CarAccessory, Transparent, Mission])
def test_statuses_carry_their_number_where_there_is_room(make: type[Device]) -> None:
    assert [json.loads(status)["n"] for status in statuses(made(make), 3)] == [1, 2, 3]


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"null", b"[1]", b"{}", b'[{"outNum": 99, "actType": 1}]', b"[" * 5000,
     b'{"action": "START", "stops": [1]}', b'{"action": "START", "stops": [{"position": {}}]}',
     b'[{"outNum": 1, "actType": 9}]', b'{"lit_up": 3}'],
)  # fmt: skip
def test_no_command_upsets_a_device(name: str, payload: bytes) -> None:
    device = made(BUILTIN[name])
    device.answered(payload)
    assert statuses(device, 3) == statuses(made(BUILTIN[name]), 3)


def test_example_knows_two_texts() -> None:
    assert set(statuses(made(Example), 20)) == {b'{"pressed": true}', b'{"pressed": false}'}


def test_car_accessory_lights_as_told() -> None:
    device = CarAccessory("d")
    device.answered(b'{"lit_up": true}')
    assert device.is_lit


def test_io_switches_its_outputs_also_when_told_again() -> None:
    device = Io("d")
    for expected in ([True, False, False, True], [True, False, False, False]):
        device.answered(b'[{"outNum": 1, "actType": 1}, {"outNum": 4, "actType": 2}]')
        assert device.outputs == expected
    device.answered(b'[{"outNum": 1, "actType": 0}]')
    assert device.outputs == [False] * 4


@pytest.mark.parametrize(("device_type", "inputs", "outputs"), [(1, 6, 4), (3, 6, 7), (4, 1, 0)])
def test_io_has_the_shape_of_its_type(device_type: int, inputs: int, outputs: int) -> None:
    status = json.loads(statuses(made(Io, device_type), 1)[0])
    assert [i["inNum"] for i in status[0]] == list(range(1, inputs + 1))
    assert [o["outNum"] for o in status[1]] == list(range(1, outputs + 1))


def drive(device: Device, count: int) -> list[tuple[str, str | None]]:
    seen = (json.loads(status) for status in statuses(device, count))
    return [(s["state"], s["nextStop"] and s["nextStop"]["name"]) for s in seen]


def test_mission_tours_its_stops_although_nobody_gave_an_action() -> None:
    device = Mission("d")
    command(device, "NO_ACTION", [])
    assert list(dict.fromkeys(drive(device, 45))) == [
        (state, stop) for stop in ("Depot", "Square", "Station") for state in ("DRIVE", "IN_STOP")
    ]


def test_mission_without_a_tour_waits_for_its_command() -> None:
    device = Mission("d", None, {"tour": []})
    assert drive(device, 2) == [("IDLE", None)] * 2
    command(device, "START", [A])
    assert drive(device, 1) == [("DRIVE", "A")]


def test_mission_drives_stop_by_stop_as_the_gateway_ticks_them_off() -> None:
    device = Mission("d")
    command(device, "START", [A, B])
    seen = drive(device, 12)
    command(device, "START", [A, B])  # repeated on the way: nothing new
    seen += drive(device, 1)
    command(device, "START", [B])
    seen += drive(device, 20)
    assert list(dict.fromkeys(seen)) == [
        ("DRIVE", "A"), ("IN_STOP", "A"), ("DRIVE", "B"), ("IN_STOP", "B"), ("IDLE", None),
    ]  # fmt: skip
    assert seen.count(("DRIVE", "A")) == seen.count(("DRIVE", "B")) == 12


@pytest.mark.parametrize("action", ["STOP", "NO_ACTION", "START"])
def test_mission_cancels_its_drive(action: str) -> None:
    device = Mission("d")
    command(device, "START", [A])
    assert drive(device, 1) == [("DRIVE", "A")]
    command(device, action, [])
    assert drive(device, 2) == [("IDLE", None)] * 2
    command(device, "NO_ACTION", [])
    assert drive(device, 1) == [("IDLE", None)]


def test_mission_arrives_where_its_stop_is() -> None:
    status = json.loads(statuses(Mission("d"), 13)[-1])
    assert status["state"] == "IN_STOP"
    assert status["telemetry"]["position"] == status["nextStop"]["position"]


@pytest.mark.parametrize("tour", ["A", [1], [{"name": "A"}], [{"position": {"latitude": 1}}]])
def test_a_tour_that_is_none_is_one_line(tour: object) -> None:
    with pytest.raises(LabError, match=r"^device d: option 'tour' must be a list of stops"):
        Mission("d", None, {"tour": tour})


def test_numbers_without_a_built_in_behave_as_transparent() -> None:
    assert (builtin_of_number(1001), builtin_of_number(77)) == (CarAccessory, Transparent)
