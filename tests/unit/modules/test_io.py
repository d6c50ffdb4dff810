"""The IO module."""

from __future__ import annotations

import json
from typing import Any

import pytest

from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.io import BOARDS, BUTTON, IoModule
from module_gateway.protocol.errors import ModuleError

OPTA, MEGA, UNO = 1, 2, 3
SANE = IoModule()
STRICT = IoModule(ModuleSettings(strict_compat=True))
BOTH = pytest.mark.parametrize("module", [SANE, STRICT], ids=["sane", "strict"])
COUNTS = {OPTA: (6, 4), MEGA: (4, 4), UNO: (6, 7), BUTTON: (1, 0)}


def status(
    device_type: int, presses: object = 0, *, on: int = 0, out: int = 0, bad: int = 0
) -> Any:
    """A status of a board; the numbers `on`, `out`, `bad` name the one that is different."""
    inputs, outputs = COUNTS[device_type]
    return [
        [{"inNum": n, "inSt": n == on} for n in range(1, inputs + 1)],
        [{"outNum": n, "outErr": n == bad, "outSt": n == out} for n in range(1, outputs + 1)],
        {"butPr": presses},
    ]


def text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def test_B3_each_type_has_its_counts() -> None:
    assert {t: (board.inputs, board.outputs) for t, board in BOARDS.items()} == COUNTS
    assert [t for t in range(7) if SANE.is_device_type_supported(t)] == [1, 2, 3, 4]
    assert (IoModule.name, IoModule.default_number) == ("io", 2)


@BOTH
@pytest.mark.parametrize("device_type", [1, 2, 3, 4])
def test_B3_complete_status_is_valid_and_a_shorter_one_is_not(
    module: IoModule, device_type: int
) -> None:
    whole = status(device_type)
    assert module.status_data_valid(text(whole), device_type)
    for part in (0, 1):
        if whole[part]:
            shorter = [*whole]
            shorter[part] = whole[part][:-1]
            assert not module.status_data_valid(text(shorter), device_type)
    assert not module.status_data_valid(text(whole[:2]), device_type)


@BOTH
@pytest.mark.parametrize(
    ("part", "index", "key", "value"),
    [
        (0, 0, "inNum", "1"),
        (0, 0, "inNum", True),
        (0, 5, "inSt", 1),
        (1, 0, "outNum", None),
        (1, 3, "outErr", "false"),
        (1, 3, "outSt", None),
    ],
)
def test_B3_wrong_types_are_invalid(
    module: IoModule, part: int, index: int, key: str, value: object
) -> None:
    broken = status(OPTA)
    broken[part][index][key] = value
    assert not module.status_data_valid(text(broken), OPTA)


@BOTH
@pytest.mark.parametrize("button", [{}, {"butPr": "2"}, {"butPr": True}, [], 2, None])
def test_B3_presses_are_a_number(module: IoModule, button: object) -> None:
    broken = status(OPTA)
    broken[2] = button
    assert not module.status_data_valid(text(broken), OPTA)


@BOTH
@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"null", b"[[],[],{}]", b"[1,2,3]"])
def test_B3_other_shapes_are_invalid(module: IoModule, payload: bytes) -> None:
    assert not module.status_data_valid(payload, OPTA)


@BOTH
def test_B3_extra_entries_are_ignored(module: IoModule) -> None:
    longer = status(OPTA, on=2)
    longer[0].append("anything")
    longer[1].append({"outNum": 5})
    assert module.aggregate_status(b"", text(longer), OPTA) == text(status(OPTA, on=2))


@BOTH
def test_B3_numbers_outside_of_the_board_are_ignored(module: IoModule) -> None:
    odd = status(OPTA)
    odd[0][0] = {"inNum": 0, "inSt": True}
    odd[0][1] = {"inNum": 7, "inSt": True}
    assert module.aggregate_status(b"", text(odd), OPTA) == text(status(OPTA))


@BOTH
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"[]", True),
        (b"{}", True),
        (b"null", True),
        (b'[{"outNum":1,"actType":2}]', True),
        (b'[{"outNum":99,"actType":99}]', True),
        (b'[{"outNum":1}]', False),
        (b'[{"outNum":"1","actType":2}]', False),
        (b'[{"outNum":1,"actType":2},[]]', False),
        (b'{"outNum":1,"actType":2}', False),
        (b"0", False),
        (b'""', False),
        (b"false", False),
        (b"", False),
    ],
)
def test_B3_command_is_a_list_of_actions(module: IoModule, command: bytes, expected: bool) -> None:
    assert module.command_data_valid(command, OPTA) is expected


@pytest.mark.parametrize("device_type", [1, 2, 3, 4])
def test_first_command_switches_every_output_off(device_type: int) -> None:
    command = json.loads(SANE.generate_first_command(device_type))
    outputs = range(1, COUNTS[device_type][1] + 1)
    assert command == [{"outNum": n, "actType": 0} for n in outputs]


def test_B3_strict_first_command_counts_from_zero() -> None:
    compat = (
        b'[{"outNum":0,"actType":0},{"outNum":1,"actType":0},'
        b'{"outNum":2,"actType":0},{"outNum":3,"actType":0}]'
    )
    assert [STRICT.generate_first_command(t) for t in (OPTA, MEGA, UNO)] == [compat] * 3
    assert STRICT.generate_first_command(BUTTON) == b"null"
    assert SANE.generate_first_command(BUTTON) == b"[]"


@BOTH
@pytest.mark.parametrize("device_type", [1, 2, 3, 4])
def test_B3_condition_is_a_changed_input_or_output(module: IoModule, device_type: int) -> None:
    def is_sent(current: object, new: object) -> bool:
        return module.send_status_condition(text(current), text(new), device_type, 1e9)

    quiet = status(device_type)
    assert not is_sent(quiet, quiet)
    assert is_sent(quiet, status(device_type, on=1))
    if COUNTS[device_type][1]:
        assert is_sent(quiet, status(device_type, out=1))
        assert is_sent(quiet, status(device_type, bad=1))


@BOTH
@pytest.mark.parametrize(
    ("device_type", "expected"), [(1, True), (2, False), (3, False), (4, False)]
)
def test_B3_presses_are_news_from_opta_only(
    module: IoModule, device_type: int, expected: bool
) -> None:
    quiet, pressed = text(status(device_type)), text(status(device_type, 2))
    assert module.send_status_condition(quiet, pressed, device_type, 0.0) is expected
    assert module.send_status_condition(pressed, pressed, device_type, 0.0) is expected
    assert module.send_status_condition(pressed, quiet, device_type, 0.0) is expected


def test_condition_without_a_current_status() -> None:
    new = text(status(OPTA))
    assert SANE.send_status_condition(b"", new, OPTA, 0.0)
    with pytest.raises(ModuleError):
        STRICT.send_status_condition(b"", new, OPTA, 0.0)


@BOTH
def test_B3_aggregation_writes_in_order_of_numbers(module: IoModule) -> None:
    mixed = status(UNO, 3, on=6, out=7, bad=2)
    mixed[0].reverse()
    mixed[1].reverse()
    assert module.aggregate_status(b"", text(mixed), UNO) == text(
        status(UNO, 3, on=6, out=7, bad=2)
    )


@BOTH
def test_B3_button_has_null_for_outputs_and_is_read_again(module: IoModule) -> None:
    merged = module.aggregate_status(b"", text(status(BUTTON, 1, on=1)), BUTTON)
    assert merged == b'[[{"inNum":1,"inSt":true}],null,{"butPr":1}]'
    assert module.status_data_valid(merged, BUTTON)


@BOTH
def test_commands_pass_unchanged(module: IoModule) -> None:
    toggle = b'[{"outNum":1,"actType":2}]'
    assert module.generate_command(b"", b"", toggle, OPTA) == toggle


@BOTH
def test_B3_presses_are_summed(module: IoModule) -> None:
    error = b""
    for presses in (2, 0, 3.0):
        error = module.aggregate_error(error, text(status(OPTA, presses)), OPTA)
    assert error == b'{"aggregatedButtonPresses":5}'
    error = module.aggregate_error(b"", text(status(BUTTON, 4)), BUTTON)
    assert error == b'{"aggregatedButtonPresses":0}'


@BOTH
def test_case56_presses_of_an_outage_are_summed_once(module: IoModule) -> None:
    # A failed sequence delivers the same fold again and folds nothing a second time.
    first = module.aggregate_error(b"", text(status(OPTA, 2)), OPTA)
    fold = module.aggregate_error(first, text(status(OPTA, 3)), OPTA)
    after_two_failed_sequences = module.aggregate_error(fold, text(status(OPTA, 0)), OPTA)
    assert fold == after_two_failed_sequences == b'{"aggregatedButtonPresses":5}'


@BOTH
def test_negative_presses_take_nothing_away(module: IoModule) -> None:
    error = module.aggregate_error(b"", text(status(OPTA, -5)), OPTA)
    assert error == b'{"aggregatedButtonPresses":0}'


@BOTH
@pytest.mark.parametrize("error", [b"{", b"[]", b"{}", b'{"aggregatedButtonPresses":"5"}'])
def test_foreign_error_aggregate_is_refused(module: IoModule, error: bytes) -> None:
    with pytest.raises(ModuleError):
        module.aggregate_error(error, text(status(OPTA, 1)), OPTA)


def test_other_device_types_are_refused() -> None:
    with pytest.raises(ModuleError, match="no board"):
        SANE.generate_first_command(5)
    assert not SANE.status_data_valid(text(status(OPTA)), 0)


def test_schemas_describe_the_payloads() -> None:
    assert SANE.StatusPayload is not None
    assert SANE.CommandPayload is not None
    SANE.StatusPayload.model_validate(status(OPTA, 2))
    SANE.StatusPayload.model_validate_json(b'[[{"inNum":1,"inSt":true}],null,{"butPr":1}]')
    SANE.CommandPayload.model_validate_json(SANE.generate_first_command(UNO))
