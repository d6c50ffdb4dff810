from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet_lab.file_fleets import link_of, read_fleets, read_links
from fleet_lab.fleets.spec import FleetSpec, Member
from fleet_lab.links.conditions import LINKS, Conditions, parse_conditions
from fleet_lab.tables import Table

CARS = {"name": "cars", "device": "mission", "size": 2}


def _read(*rows: dict[str, Any], folder: Path = Path()) -> tuple[tuple[FleetSpec, ...], list[str]]:
    table = Table({"fleet": list(rows)}, "", [])
    own = {"garage": Conditions(delay_s=1.0)}
    return read_fleets(table, folder, 7, own), table.problems


def test_a_fleet_has_all_its_values() -> None:
    fleets, problems = _read(
        {
            **CARS, "sink": "fleet-protocol://127.0.0.1:8888", "link": "LTE", "load": "1/s each",
            "options": {"stops": 3}, "patient": True, "seed": 9,
        }
    )  # fmt: skip

    assert problems == []
    assert fleets == (
        FleetSpec(
            "cars", "mission", 2, "fleet-protocol://127.0.0.1:8888",
            {"shape": "constant", "rate": "1/s each"}, "LTE", 9, {"stops": 3}, is_patient=True,
        ),
    )  # fmt: skip


def test_a_fleet_without_a_seed_has_the_files() -> None:
    assert _read(CARS)[0][0].seed == 7


def test_devices_may_be_listed_one_by_one() -> None:
    fleets, problems = _read(
        {"name": "cars", "device": "mission", "devices": [{"id": "red"}, {"sink": "console:"}]}
    )

    assert problems == []
    assert fleets[0].members == (Member("red"), Member("cars/2", sink="console:"))
    assert fleets[0].size == 2


def test_files_of_devices_are_found_from_the_fleet_file(tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text('{"temperature": 20}', encoding="utf-8")
    source = "from fleet_lab.devices.api import Device\n\nclass Probe(Device):\n    pass\n"
    (tmp_path / "probe.py").write_text(source, encoding="utf-8")
    fleets, problems = _read(
        {"name": "a", "device": "probe.json", "size": 1},
        {"name": "b", "device": "probe.py:Probe", "size": 1},
        folder=tmp_path,
    )

    assert problems == []
    assert [fleet.device for fleet in fleets] == [
        f"{tmp_path}/probe.json", f"{tmp_path}/probe.py:Probe"
    ]  # fmt: skip


def test_a_template_may_stand_in_the_file() -> None:
    fleets, problems = _read({"name": "a", "device": {"temperature": 20}, "size": 1})

    assert (problems, fleets[0].device) == ([], {"temperature": 20})


def test_an_own_link_is_written_out_for_the_workers() -> None:
    fleets, _ = _read({**CARS, "link": "garage"})

    assert parse_conditions(fleets[0].link or "") == Conditions(delay_s=1.0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": None}, "fleet[0].name: is missing"),
        ({"name": "a/b"}, "fleet[0]: 'a/b' is no name of a fleet"),
        ({"device": "misson"}, "did you mean 'mission'?"),
        ({"device": 3}, "fleet[0].device: expected a device's name"),
        ({"device": None}, "fleet[0].device: is missing"),
        ({"device": "none.json"}, "fleet[0].device: "),
        ({"size": None}, "fleet[0].size: is missing"),
        ({"size": -1}, "fleet[0].size: expected a whole number"),
        ({"sink": 3}, "fleet[0].sink: expected a URL"),
        ({"sink": "fleet-protocl://x"}, "did you mean 'fleet-protocol'?"),
        ({"load": {"shape": "wav"}}, "did you mean 'wave'?"),
        ({"link": "WIFY"}, "did you mean 'WIFI'?"),
        ({"link": "garag"}, "link 'garag' is neither in [links] nor a preset; did you mean 'garag"),
        ({"link": 3}, "fleet[0].link: expected a preset, a text or a table, got 3"),
        ({"devices": 3}, "fleet[0].devices: expected a list of tables"),
        ({"devices": [{"idd": 3}]}, "fleet[0].devices: device 1: unknown key 'idd'"),
        ({"laod": 3}, "fleet[0].laod: unknown key; did you mean 'load'?"),
    ],
)
def test_what_is_wrong_names_its_key(changes: dict[str, Any], problem: str) -> None:
    row = {key: value for key, value in {**CARS, **changes}.items() if value is not None}
    fleets, problems = _read(row)

    assert fleets == ()
    assert len(problems) == 1
    assert problem in problems[0]


def test_names_are_unique_and_one_fleet_is_needed() -> None:
    assert _read(CARS, CARS)[1] == ["fleet[1].name: there is another fleet 'cars'"]
    table = Table({}, "", [])
    read_fleets(table, Path(), 7, {})
    assert table.problems == ["fleet: is missing; a file needs at least one [[fleet]]"]


def test_links_get_own_names() -> None:
    table = Table({"links": {"a": "LTE", "b": {"delay": "1s"}, "c": "WIFY", "d": 3}}, "", [])

    assert read_links(table) == {"a": LINKS["LTE"], "b": Conditions(delay_s=1.0)}
    assert [problem.split(":")[0] for problem in table.problems] == ["links.c", "links.d"]


def test_a_link_is_a_preset_an_own_name_a_text_or_a_table() -> None:
    own = {"a": Conditions(delay_s=9.0)}

    assert link_of("a", own) == own["a"]
    assert link_of("LTE", own) == LINKS["LTE"]
    assert link_of("delay=9s", {}) == own["a"]
    assert link_of({"delay": "9s"}, {}) == own["a"]
