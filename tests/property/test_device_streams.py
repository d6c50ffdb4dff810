"""The same seed gives the same statuses, whoever else draws, and no template breaks a device."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_lab.devices.api import Device
from fleet_lab.devices.builtin import BUILTIN
from fleet_lab.devices.generators import Stream
from fleet_lab.devices.generic import Template, generic_device
from fleet_lab.errors import LabError

SEEDS = st.integers(0, 2**64 - 1)
PATHS = st.lists(st.text(max_size=5) | st.integers(), max_size=3)
NUMBERS = st.integers(-5, 5) | st.floats(-5, 5)
GENERATORS = st.one_of(
    st.fixed_dictionaries({"$walk": st.fixed_dictionaries({}, optional={"step": NUMBERS})}),
    st.fixed_dictionaries({"$sine": st.fixed_dictionaries({}, optional={"mean": NUMBERS})}),
    st.fixed_dictionaries({"$choice": st.lists(st.booleans(), min_size=1, max_size=4)}),
    st.fixed_dictionaries({"$counter": st.fixed_dictionaries({}, optional={"start": NUMBERS})}),
    st.fixed_dictionaries({"$gauss": st.just({})}),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5) | st.sampled_from(["$walk", "$choice", "$"]), inner,
                      max_size=3),
    max_leaves=10,
)  # fmt: skip
TEMPLATES = st.dictionaries(st.sampled_from("abcd"), GENERATORS | JSON, max_size=4)


def statuses(device: Device, count: int) -> list[bytes]:
    sent: list[bytes] = []
    device.attach(lambda _, payload: sent.append(payload))
    for _ in range(count):
        device.report_sample()
    assert device.errors == 0, device.last_error
    return sent


@given(SEEDS, PATHS, PATHS)
def test_a_stream_is_a_function_of_seed_and_path(
    seed: int, path: list[Any], rest: list[Any]
) -> None:
    whole, parts = Stream(seed, *path, *rest), Stream(seed, *path)
    for _ in range(3):
        parts.word()  # drawing must not move what is forked
    forked = parts.fork(*rest)
    assert [whole.word() for _ in range(4)] == [forked.word() for _ in range(4)]


@given(SEEDS, st.integers(-(2**70), 2**70), st.integers(1, 2**70))
def test_numbers_stay_in_their_range(seed: int, low: int, count: int) -> None:
    stream = Stream(seed)
    for _ in range(5):
        assert 0 <= stream.random() < 1
        assert low <= stream.randint(low, low + count - 1) < low + count


@given(SEEDS, st.sampled_from(sorted(BUILTIN)), st.permutations(range(3)))
def test_the_same_seed_gives_the_same_statuses_in_any_order(
    seed: int, name: str, order: list[int]
) -> None:
    def of(number: int) -> Device:
        return BUILTIN[name](f"d{number}", Stream(seed, "fleet", f"d{number}"))

    alone = [statuses(of(number), 5) for number in range(3)]
    together = {number: of(number) for number in order}
    mixed: dict[int, list[bytes]] = {number: [] for number in order}
    for _ in range(5):
        for number in order:
            mixed[number] += statuses(together[number], 1)
    assert [mixed[number] for number in range(3)] == alone


@given(TEMPLATES, SEEDS)
def test_a_template_is_refused_with_one_line_or_works(template: object, seed: int) -> None:
    try:
        make = generic_device(Template(template))
    except LabError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert refusal.startswith("template: $")
        assert "\n" not in refusal
        return
    first = statuses(make("a", Stream(seed)), 4)
    assert first == statuses(make("a", Stream(seed)), 4)
    assert [json.loads(status)["n"] for status in first] == [1, 2, 3, 4]


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.text(max_size=8))
def test_any_object_is_reported_with_its_number_and_id(payload: dict[str, Any], name: str) -> None:
    device = Device(name)
    sent: list[bytes] = []
    device.attach(lambda _, encoded: sent.append(encoded))
    device.report(payload)
    assert json.loads(sent[0]) == {**payload, "id": name, "n": 1}


def test_different_seeds_give_different_statuses() -> None:
    with pytest.raises(AssertionError):
        assert statuses(BUILTIN["mission"]("d", Stream(1)), 9) == statuses(
            BUILTIN["mission"]("d", Stream(2)), 9
        )
