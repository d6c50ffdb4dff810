"""The commands of one device and the verdict on a new one."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.commands import Commands, judge_command
from module_gateway.protocol.errors import ModuleError
from module_gateway.protocol.external import CommandResponseType
from tests.unit.module_handler.scripted_module import ScriptedModule


def take(commands: Commands, *, is_push_only: bool = False) -> bytes | None:
    """What the next frame is answered with, by a module that changes nothing."""
    picked = commands.next(is_push_only=is_push_only)
    if picked is None:
        commands.frame_seen()
    else:
        commands.take(picked)
    return picked


def test_C1_three_wait_one_per_status_the_last_repeats() -> None:
    commands = Commands(b"first")
    superseded = [commands.enqueue(command, 3) for command in (b"1", b"2", b"3", b"4", b"5")]
    assert [0, 0, 0, 1, 1] == superseded
    assert [b"3", b"4", b"5", b"5"] == [take(commands) for _ in range(4)]


def test_a_device_starts_from_the_first_command() -> None:
    commands = Commands(b"first")
    assert [b"first", b"first"] == [take(commands), take(commands)]


def test_C2_what_was_answered_is_where_the_next_answer_starts() -> None:
    commands = Commands(b"first")
    commands.enqueue(b"queued", 3)
    commands.take(b"generated from queued")
    assert b"generated from queued" == commands.next(is_push_only=False)


def test_asking_for_the_next_command_does_not_take_it() -> None:
    commands = Commands(b"first")
    commands.enqueue(b"1", 3)
    assert [b"1", b"1"] == [commands.next(is_push_only=False) for _ in range(2)]


def test_a_push_only_device_gets_nothing_twice() -> None:
    commands = Commands(b"first")
    commands.enqueue(b"1", 3)
    assert [b"1", None, None] == [take(commands, is_push_only=True) for _ in range(3)]


def test_R20_a_taken_command_is_in_flight_until_the_next_frame() -> None:
    commands = Commands(b"first")
    commands.enqueue(b"1", 3)
    take(commands)
    assert (b"1", 1) == (commands.in_flight, commands.undelivered)
    take(commands)
    assert (None, 0) == (commands.in_flight, commands.undelivered)


def test_R20_what_was_in_flight_is_delivered_again_after_a_return() -> None:
    commands = Commands(b"first")
    commands.enqueue(b"1", 3)
    commands.enqueue(b"2", 3)
    take(commands)
    assert 0 == commands.returned(3)
    assert [b"1", b"2", b"2"] == [take(commands) for _ in range(3)]


def test_a_returning_command_is_the_oldest_and_goes_first_when_the_queue_is_full() -> None:
    commands = Commands(b"first")
    commands.enqueue(b"1", 3)
    take(commands)
    for command in (b"2", b"3", b"4"):
        commands.enqueue(command, 3)
    assert 1 == commands.returned(3)
    assert [b"2", b"3", b"4"] == list(commands.queue)


OK, NOT_CONNECTED, NOT_SUPPORTED, INVALID = (
    CommandResponseType.OK,
    CommandResponseType.DEVICE_NOT_CONNECTED,
    CommandResponseType.DEVICE_NOT_SUPPORTED,
    CommandResponseType.INVALID_COMMAND,
)


@pytest.mark.parametrize(
    ("device_type", "is_registered", "command", "expected"),
    [
        (0, True, b"go", OK),
        (0, True, b"", OK),
        (0, True, b"bad", INVALID),
        (0, False, b"go", NOT_CONNECTED),
        (0, False, b"bad", NOT_CONNECTED),
        (0, False, b"", NOT_CONNECTED),
        (9, True, b"go", NOT_SUPPORTED),
        (9, False, b"bad", NOT_SUPPORTED),
    ],
)
def test_verdicts_come_in_the_order_type_registration_validity(
    device_type: int, is_registered: bool, command: bytes, expected: CommandResponseType
) -> None:
    verdict = judge_command(ScriptedModule(), device_type, command, is_registered=is_registered)
    assert expected is verdict


def test_an_empty_command_is_not_shown_to_the_module() -> None:
    module = ScriptedModule()
    judge_command(module, 0, b"", is_registered=True)
    assert [] == module.calls("command_data_valid")


def test_a_module_that_fails_has_not_approved() -> None:
    module = ScriptedModule()
    module.fails.add("command_data_valid")
    assert INVALID is judge_command(module, 0, b"go", is_registered=True)
    module.fails.add("is_device_type_supported")
    assert NOT_SUPPORTED is judge_command(module, 0, b"go", is_registered=True)


def test_a_module_that_hangs_says_so() -> None:
    module = ScriptedModule()
    module.hangs.add("command_data_valid")
    with pytest.raises(ModuleError):
        judge_command(module, 0, b"go", is_registered=True)


def test_a_module_that_is_not_served_here_is_not_supported() -> None:
    assert NOT_SUPPORTED is judge_command(None, 0, b"go", is_registered=True)
