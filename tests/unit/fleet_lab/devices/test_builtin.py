from __future__ import annotations

import json
from random import Random

import pytest

from fleet_lab.payloads import (
    IO_SHAPES,
    KINDS,
    CarAccessory,
    Example,
    Io,
    Mission,
    Transparent,
    kind_of_number,
)
from module_gateway.modules.catalog import load_modules
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS


@pytest.mark.parametrize("name", KINDS)
def test_the_gateways_own_module_accepts_every_status(name: str) -> None:
    kind = KINDS[name]
    module = load_modules(DEFAULT_MODULE_PATHS, {})[kind.number]
    types = IO_SHAPES if name == "io" else (kind.device_type,)
    for device_type in types:
        assert module.is_device_type_supported(device_type)
        payloads = kind.make(Random(1), device_type)
        for number in range(1, 60):
            assert module.status_data_valid(payloads.status(number), device_type)


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_gives_the_same_statuses(name: str) -> None:
    kind = KINDS[name]

    def statuses(seed: int) -> list[bytes]:
        payloads = kind.make(Random(seed), kind.device_type)
        return [payloads.status(number) for number in range(1, 30)]

    assert statuses(7) == statuses(7)
    assert statuses(7) != statuses(8)


@pytest.mark.parametrize("make", [CarAccessory, Transparent, Mission])
def test_statuses_carry_their_number_where_there_is_room(
    make: type[CarAccessory | Transparent | Mission],
) -> None:
    payloads = make(Random(1), 0)
    assert [json.loads(payloads.status(n))["n"] for n in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "command",
    [b"", b"\xff", b"null", b"[1]", b"{}", b'[{"outNum": 99, "actType": 1}]', b"[" * 5000,
     b'{"action": "START", "stops": [1]}', b'{"action": "START", "stops": [{"position": {}}]}',
     b'[{"outNum": 1, "actType": 9}]', b'{"lit_up": 3}'],
)  # fmt: skip
def test_no_command_upsets_a_device(name: str, command: bytes) -> None:
    kind = KINDS[name]
    payloads, untouched = (kind.make(Random(1), kind.device_type) for _ in range(2))
    payloads.commanded(command)
    assert payloads.status(1) == untouched.status(1)


def test_example_knows_two_texts() -> None:
    payloads = Example(Random(1), 0)
    assert {payloads.status(n) for n in range(20)} == {b'{"pressed": true}', b'{"pressed": false}'}


def test_car_accessory_lights_as_told() -> None:
    payloads = CarAccessory(Random(1), 0)
    payloads.commanded(b'{"lit_up": true}')
    assert payloads.is_lit


def test_io_switches_its_outputs() -> None:
    payloads = Io(Random(1), 1)
    payloads.commanded(b'[{"outNum": 1, "actType": 1}, {"outNum": 4, "actType": 2}]')
    assert payloads.outputs == [True, False, False, True]
    payloads.commanded(b'[{"outNum": 1, "actType": 0}, {"outNum": 4, "actType": 2}]')
    assert payloads.outputs == [False] * 4


@pytest.mark.parametrize(("device_type", "inputs", "outputs"), [(1, 6, 4), (3, 6, 7), (4, 1, 0)])
def test_io_has_the_shape_of_its_type(device_type: int, inputs: int, outputs: int) -> None:
    status = json.loads(Io(Random(1), device_type).status(1))
    assert [i["inNum"] for i in status[0]] == list(range(1, inputs + 1))
    assert [o["outNum"] for o in status[1]] == list(range(1, outputs + 1))


def drive(payloads: Mission, statuses: int) -> list[tuple[str, str | None]]:
    seen = (json.loads(payloads.status(n)) for n in range(1, statuses + 1))
    return [(s["state"], s["nextStop"] and s["nextStop"]["name"]) for s in seen]


def test_mission_tours_its_stops() -> None:
    seen = drive(Mission(Random(1), 1), 45)
    assert list(dict.fromkeys(seen)) == [
        (state, stop) for stop in ("Depot", "Square", "Station") for state in ("DRIVE", "IN_STOP")
    ]


def test_mission_obeys_start_and_stop() -> None:
    payloads = Mission(Random(1), 1)
    here = {"latitude": 1.0, "longitude": 2.0, "altitude": 3.0}
    start = {"action": "START", "route": "", "stops": [{"name": "A", "position": here}]}
    payloads.commanded(json.dumps(start).encode())
    assert list(dict.fromkeys(drive(payloads, 16))) == [
        ("DRIVE", "A"),
        ("IN_STOP", "A"),
        ("IDLE", None),
    ]
    payloads.commanded(json.dumps(start).encode())
    payloads.commanded(b'{"action": "STOP", "route": "", "stops": []}')
    assert drive(payloads, 2) == [("IDLE", None)] * 2


def test_mission_arrives_where_its_stop_is() -> None:
    payloads = Mission(Random(1), 1)
    statuses = [json.loads(payloads.status(n)) for n in range(1, 14)]
    assert statuses[-1]["state"] == "IN_STOP"
    assert statuses[-1]["telemetry"]["position"] == statuses[-1]["nextStop"]["position"]


def test_numbers_without_a_built_in_behave_as_transparent() -> None:
    assert kind_of_number(1001) is KINDS["car_accessory"]
    assert (kind_of_number(77).number, kind_of_number(77).make) == (77, Transparent)
