from __future__ import annotations

import json
from random import Random

import pytest

from fleet_lab.errors import LabError
from fleet_lab.load import Load
from fleet_lab.load_plan import SHAPES, parse_load


def rate(t_s: float) -> float:
    return 3 + t_s


LOADS = {
    "constant": Load.constant("5/s", lasting="20s"),
    "ramp": Load.ramp("0 -> 10/s", over="10s"),
    "steps": Load.steps(["1/s", "5/s"], every="10s"),
    "wave": Load.wave("10s", "1/s", "8/s", lasting="15s"),
    "bursts": Load.bursts("10/s", "7s", jitter=0.5, seed=2),
    "poisson": Load.poisson(Load.ramp("0 -> 9/s", over="10s")),
    "spike": Load.spike("50/s", at="3s", burst="1s"),
    "trace": Load.trace([(0, 0), (9, 4)]),
    "custom": Load.custom(rate),
    "closed": Load.closed(),
    "then": Load.constant(1, lasting="2s").then(Load.constant(4)),
    "sum": Load.constant("1/s each") + Load.poisson("3/s"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plan_makes_the_same_load_in_another_process(shape: str) -> None:
    load = LOADS[shape]
    again = parse_load(json.loads(json.dumps(load.plan)))
    assert load.plan == again.plan
    assert load.is_closed == again.is_closed
    times = list(load.times(Random(1), 30.0, size=2))
    assert times == list(again.times(Random(1), 30.0, size=2))


def test_text_a_number_and_a_list_are_loads() -> None:
    assert 5.0 == parse_load("5/s").rate_at(1)
    assert 5.0 == parse_load(5).rate_at(1)
    assert parse_load("closed").is_closed
    chain = parse_load([{"shape": "constant", "rate": "1/s", "lasting": "1s"}, "3/s"])
    assert [1.0, 3.0] == [chain.rate_at(t) for t in (0.5, 1.5)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"shape": "wafe"}, "there is no load shape 'wafe'; did you mean 'wave'?"),
        (
            {"shape": "ramp", "rates": "0 -> 1", "ovr": 1},
            "load ramp: no 'ovr'; did you mean 'over'?",
        ),
        ({"shape": "ramp"}, "load ramp: rates, over missing"),
        ({"shape": "steps", "rates": 5, "every": "1s"}, "load steps: a wrong value"),
        ({"rate": 1}, "{'rate': 1} is no load"),
        (None, "None is no load"),
        ([], "[] is no list of loads"),
        ({"shape": "constant", "rate": "x"}, "'x' is no rate"),
        ({"shape": "constant", "rate": 1, "lasting": "x"}, "'x' is no duration"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(value: object, text: str) -> None:
    with pytest.raises(LabError) as raised:
        parse_load(value)
    assert raised.value.text.startswith(text)
    assert 78 == raised.value.exit_code
