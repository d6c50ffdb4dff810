from __future__ import annotations

import json

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.fleets.spec import FleetSpec, Member, device_name, members_of
from fleet_lab.load import Load
from tests.unit.fleet_lab.fleets.stand_ins import Walker


def test_it_is_the_same_after_json() -> None:
    spec = FleetSpec(
        "cars", {"speed": 1}, 2, "console:", Load.constant("1/s each").plan, "LTE", 7, {"a": 1},
        members=(Member("left", "io"), Member("right", None, "file:x", {"b": 2})),
    )  # fmt: skip
    assert spec == FleetSpec.from_json(json.loads(json.dumps(spec.to_json())))


def test_ids_and_indexes_belong_together() -> None:
    spec = FleetSpec("cars", "io", 3)
    assert ["cars/1", "cars/2", "cars/3"] == [spec.device_spec(index).id for index in range(3)]
    assert [0, 2, 98] == [spec.index_of(f"cars/{number}") for number in (1, 3, 99)]
    assert [None] * 4 == [spec.index_of(text) for text in ("cars/0", "cars/x", "bikes/1", "cars")]


def test_members_have_their_own_and_the_fleets_values() -> None:
    members = (Member("left", options={"a": 2}), Member("right", "io", "file:x"))
    spec = FleetSpec("cars", "mission", 2, "console:", options={"a": 1, "b": 1}, members=members)
    left, right = spec.device_spec(0), spec.device_spec(1)
    assert ("left", "mission", "console:", {"a": 2, "b": 1}) == (
        left.id, left.device, left.sink, left.options,
    )  # fmt: skip
    assert ("right", "io", "file:x") == (right.id, right.device, right.sink)
    assert [0, 1, None] == [spec.index_of(id_) for id_ in ("left", "right", "cars/1")]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FleetSpec("", "io", 1), "'' is no name of a fleet"),
        (lambda: FleetSpec("a/b", "io", 1), "'a/b' is no name of a fleet"),
        (lambda: FleetSpec("cars", "io", -1), "fleet cars: -1 is no size"),
        (
            lambda: FleetSpec("cars", "io", 2, members=(Member("a"), Member("a"))),
            "fleet cars: two devices are called 'a'",
        ),
        (lambda: members_of([{"name": "x"}], "cars"), "device 1: unknown key 'name'"),
    ],
)
def test_what_cannot_be_is_one_line(make: object, text: str) -> None:
    with pytest.raises(LabError) as error:
        make()
    assert error.value.text.startswith(text)


def test_listed_devices_get_an_id_when_they_have_none() -> None:
    members = members_of([{"cls": Walker}, {"id": "x", "cls": "io", "sink": "console:"}], "cars")
    assert ["cars/1", "x"] == [member.id for member in members]
    assert [f"{Walker.__module__}:Walker", "io"] == [member.device for member in members]


def test_the_name_of_a_class_is_where_it_is_found() -> None:
    assert "fleet_lab.devices.api:Device" == device_name(Device)
    assert "mission" == device_name("mission")
