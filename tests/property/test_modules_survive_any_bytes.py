"""Whatever bytes a module gets, it answers with its type or with ModuleError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.modules.api import Module, ModuleSettings
from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.example import ExampleModule
from module_gateway.modules.io import IoModule
from module_gateway.modules.mission import MissionModule
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol import mission_module_pb2 as pb
from module_gateway.protocol.errors import ModuleError

MODULES: list[Module] = [
    module_class(ModuleSettings(strict_compat=strict, codec=codec))
    for module_class, codecs in (
        (MissionModule, ("json", "protobuf")),
        (IoModule, ("json",)),
        (TransparentModule, ("json",)),
        (ExampleModule, ("json",)),
        (CarAccessoryModule, ("json",)),
    )
    for codec in codecs
    for strict in (False, True)
]
EVERY_MODULE = pytest.mark.parametrize(
    "module",
    MODULES,
    ids=[f"{m.name}-{m.settings.codec}-{m.settings.strict_compat}" for m in MODULES],
)

KNOWN = [
    b"",
    b'{"pressed": true}',
    b'{"lit_up": false}',
    b'{"state":"IN_STOP","telemetry":{"speed":1},"nextStop":{"name":"A"}}',
    b'{"action":"START","stops":[{"name":"A"},{"name":"B"}],"route":""}',
    b'{"finishedStops":[1]}',
    b'{"aggregatedButtonPresses":3}',
    b'{"pressed_count":1,"not_pressed_count":1,"total_statuses":2}',
    b'[[{"inNum":1,"inSt":true}],null,{"butPr":2}]',
    b'[[{"inNum":1,"inSt":true}],null,{"butPr":1e308}]',
    b'{"state":[],"telemetry":{"speed":1e999},"nextStop":null}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'"\\ud800"',
    b"9" * 5_000,
    b"NaN",
    pb.AutonomyStatus(state=pb.AutonomyStatus.IN_STOP, nextStop=pb.Station()).SerializeToString(),
    pb.AutonomyCommand(stops=[pb.Station(name="A")]).SerializeToString(),
]
# fmt: off
WORDS = st.sampled_from([
    "state", "telemetry", "speed", "nextStop", "stops", "action", "route", "finishedStops",
    "pressed", "lit_up", "inNum", "inSt", "outNum", "outErr", "outSt", "butPr", "actType",
    "aggregatedButtonPresses", "total_statuses", "IN_STOP", "DRIVE", "START",
])
# fmt: on
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=20,
)
PAYLOAD = (
    st.sampled_from(KNOWN)
    | st.binary(max_size=64)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
)
DEVICE_TYPE = st.sampled_from([0, 1, 2, 3, 4]) | st.integers(0, 2**32 - 1)


def answer_of(module: Module, function: str, *arguments: object) -> object:
    try:
        return getattr(module, function)(*arguments)
    except ModuleError:
        return ModuleError


@EVERY_MODULE
@given(a=PAYLOAD, b=PAYLOAD, c=PAYLOAD, device_type=DEVICE_TYPE, since_s=st.floats(0))
def test_B7_any_bytes_give_an_answer_or_a_module_error(
    module: Module, a: bytes, b: bytes, c: bytes, device_type: int, since_s: float
) -> None:
    for function, arguments in (
        ("is_device_type_supported", ()),
        ("forward_command_on_receive", ()),
        ("status_data_valid", (a,)),
        ("command_data_valid", (a,)),
    ):
        assert type(answer_of(module, function, *arguments, device_type)) is bool or (
            module.name == "io" and device_type not in (1, 2, 3, 4)
        )
    condition = answer_of(module, "send_status_condition", a, b, device_type, since_s)
    assert condition is ModuleError or type(condition) is bool
    for function, arguments in (
        ("generate_first_command", ()),
        ("aggregate_status", (a, b)),
        ("generate_command", (a, b, c)),
        ("aggregate_error", (a, b)),
    ):
        answer = answer_of(module, function, *arguments, device_type)
        assert answer is ModuleError or type(answer) is bytes


@EVERY_MODULE
@given(statuses=st.lists(PAYLOAD, max_size=6), device_type=st.sampled_from([0, 1, 2, 3, 4]))
def test_B7_what_a_module_folds_it_can_fold_on(
    module: Module, statuses: list[bytes], device_type: int
) -> None:
    valid = [
        status
        for status in statuses
        if module.is_device_type_supported(device_type)
        and module.status_data_valid(status, device_type)
    ]
    error = merged = b""
    for status in valid:
        folded = answer_of(module, "aggregate_error", error, status, device_type)
        error = folded if isinstance(folded, bytes) else error
        # A strict mission under protobuf accepts what it cannot read, as the native one does.
        assert folded is not ModuleError or module.settings.strict_compat
        new = answer_of(module, "aggregate_status", merged, status, device_type)
        merged = new if isinstance(new, bytes) else merged
        assert new is not ModuleError or module.settings.strict_compat


@EVERY_MODULE
@given(device_type=st.sampled_from([0, 1, 2, 3, 4]))
def test_first_command_is_one_that_the_module_accepts(module: Module, device_type: int) -> None:
    if module.is_device_type_supported(device_type):
        first = module.generate_first_command(device_type)
        # An empty command is never asked about: it changes nothing (fleet-protocol 4.6).
        assert first == b"" or module.command_data_valid(first, device_type)
