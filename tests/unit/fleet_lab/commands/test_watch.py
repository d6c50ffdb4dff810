from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet_lab.cli import main
from fleet_lab.commands.watch import chosen, view_of_row
from fleet_lab.fleets import registry

CARS = {
    "name": "cars", "size": 10, "connected": 9, "sent": 100, "answered": 90, "disconnects": 2,
    "refused": 0, "errors": 1, "restarts": 0, "lag_p99_s": 0.004, "places": [],
}  # fmt: skip


def test_a_row_becomes_a_view() -> None:
    view = view_of_row(CARS)
    assert (view.name, view.devices, view.sent, view.closes, view.lag_p99_s) == (
        "cars", 10, 100, 2, 0.004,
    )  # fmt: skip
    assert view.states == {"connected": 9, "not connected": 1}
    assert view_of_row({"name": "new", "size": 3}).sent == 0


def test_one_fleet_can_be_chosen() -> None:
    rows = [CARS, {**CARS, "name": "vans"}]
    assert [view.name for view in chosen(rows, None)] == ["cars", "vans"]
    assert [view.name for view in chosen(rows, "vans")] == ["vans"]
    assert chosen(rows, "ships") == []


def answers(*looks: list[dict[str, Any]]) -> Any:
    left = list(looks)

    def ask_all(folder: Path, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
        assert fields == {"do": "ps"}
        yield {"error": "another run is busy", "exit_code": 1}
        yield {"answer": left.pop(0)}

    return ask_all


def test_the_view_ends_with_the_last_fleet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "ask_all", answers([CARS], [{**CARS, "sent": 200}], []))
    assert main(["watch", "--period", "1ms", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[fleet["sent"] for fleet in each["fleets"]] for each in found] == [[100], [200], []]


def test_without_a_fleet_it_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "--state-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "fleet-lab: no fleet runs; start one: fleet-lab fleet run FILE\n"
    )


def test_a_name_that_nobody_has_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "ask_all", answers([CARS]))
    assert main(["watch", "ships"]) == 2
    assert capsys.readouterr().err == "fleet-lab: no fleet 'ships' runs\n"
