from __future__ import annotations

from typing import Any

import pytest

from fleet_lab.faults import ComposeService, Foreign
from fleet_lab.file_steps import read_steps
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.links.conditions import LINKS, Conditions
from fleet_lab.steps import Act, Cut, Heal, Scale, Send, SetLink, Step
from fleet_lab.tables import Table

FLEETS = [FleetSpec("cars", "mission", 3), FleetSpec("buttons", "car_accessory", 1)]
PROCESSES = {"gateway": Foreign("gateway", lambda: 99, is_supervised=True), "child": None}


def _read(row: dict[str, Any]) -> tuple[tuple[Step, ...], list[str]]:
    table = Table({"fleet": [{"name": "cars"}, {"name": "buttons"}], "step": [row]}, "", [])
    links = {"garage": Conditions(delay_s=1.0)}
    return read_steps(table, FLEETS, links, PROCESSES), table.problems


@pytest.mark.parametrize(
    ("row", "step"),
    [
        ({"do": "scale", "fleet": "cars", "size": 9}, Step(Scale("cars", 9), 1.0)),
        (
            {"do": "send", "fleet": "cars", "device": "cars/2", "payload": {"action": "STOP"}},
            Step(Send("cars", b'{"action": "STOP"}', "cars/2"), 1.0),
        ),
        ({"do": "send", "fleet": "cars", "payload": "go"}, Step(Send("cars", b"go"), 1.0)),
        (
            {"do": "link", "fleet": "cars", "link": "OFFLINE", "share": 0.5, "for": "5s"},
            Step(SetLink("cars", LINKS["OFFLINE"], 0.5), 1.0, None, 5.0),
        ),
        (
            {"do": "link", "fleet": "cars", "link": "garage"},
            Step(SetLink("cars", Conditions(delay_s=1.0)), 1.0),
        ),
        ({"do": "cut", "fleet": "cars", "name": "tunnel"}, Step(Cut("cars"), 1.0, name="tunnel")),
        ({"do": "heal", "fleet": "cars"}, Step(Heal("cars"), 1.0)),
        (
            {"do": "pause", "process": "gateway", "for": "2s"},
            Step(Act("gateway", "pause"), 1.0, None, 2.0),
        ),
        ({"do": "restart", "process": "gateway"}, Step(Act("gateway", "restart"), 1.0)),
        (
            {"do": "kill", "process": "child", "for": "2s"},
            Step(Act("child", "kill"), 1.0, None, 2.0),
        ),
        ({"do": "kill", "process": "pid:1234"}, Step(Act("pid:1234", "kill"), 1.0)),
        (
            {"do": "stop", "process": "compose:broker", "for": "2s"},
            Step(Act("compose:broker", "stop"), 1.0, None, 2.0),
        ),
    ],
)
def test_a_step_is_read(row: dict[str, Any], step: Step) -> None:
    assert _read({"at": "1s", **row}) == ((step,), [])


def test_a_step_may_wait_for_a_condition() -> None:
    row = {"when": "answered > 100", "do": "heal", "fleet": "cars"}

    assert _read(row) == ((Step(Heal("cars"), 0.0, "answered > 100"),), [])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"do": "heal", "fleet": "cars", "at": None}, 'step[0]: a step needs at = "10s" or when'),
        ({"do": "heal", "fleet": "cars", "when": "x > 1"}, "step[0].when: check 'x > 1'"),
        ({"do": "heal", "fleet": "cars", "when": 1}, "step[0].when: expected a text, got 1"),
        (
            {"do": "heal", "fleet": "cars", "when": "within 1s after x"},
            "step[0].when: `within` looks back",
        ),
        ({"do": "lnk"}, "step[0].do: 'lnk' is none of"),
        ({}, "step[0].do: is missing"),
        ({"do": "heal", "fleet": "car"}, "did you mean 'cars'?"),
        ({"do": "heal", "fleet": "cars", "for": "1s"}, "step[0].for: heal has no end"),
        ({"do": "cut", "fleet": "cars", "for": "0s"}, "step[0].for: must be longer than 0"),
        ({"do": "cut", "fleet": "cars", "share": 2}, "step[0].share: expected a number"),
        ({"do": "link", "fleet": "cars"}, "step[0].link: is missing"),
        ({"do": "link", "fleet": "cars", "link": "LTF"}, "did you mean 'LTE'?"),
        ({"do": "scale", "fleet": "cars"}, "step[0].size: is missing"),
        ({"do": "send", "fleet": "cars"}, "step[0].payload: is missing"),
        ({"do": "send", "fleet": "cars", "payload": {1j}}, "step[0].payload: expected a text"),
        (
            {"do": "send", "fleet": "cars", "payload": "x", "device": "car/1"},
            "step[0].device: fleet cars has no 'car/1'; its first is 'cars/1'",
        ),
        ({"do": "kill"}, "step[0].process: is missing"),
        ({"do": "kill", "process": "gatway"}, "did you mean 'gateway'?"),
        (
            {"do": "kill", "process": "gateway", "for": "2s"},
            "step[0].do: the lab did not start gateway, so it cannot start it",
        ),
        ({"do": "start", "process": "pid:99"}, "step[0].do: the lab did not start pid:99"),
        ({"do": "kill", "process": "child", "fleet": "cars"}, "step[0].fleet: unknown key"),
    ],
)
def test_what_is_wrong_names_its_key(row: dict[str, Any], problem: str) -> None:
    whole = {key: value for key, value in {"at": "1s", **row}.items() if value is not None}
    steps, problems = _read(whole)

    assert steps == ()
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_compose_service_can_be_started_again() -> None:
    assert "start" in ComposeService("x", FLEETS, "y").verbs  # type: ignore[arg-type]  # no file is read
