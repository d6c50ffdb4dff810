from __future__ import annotations

from module_gateway.control_plane.command_queue import COUNTER_MODULUS, CommandQueue
from module_gateway.control_plane.events import CommandFinished, CommandState, CommandWanted
from tests.control_plane_script import BUTTON, LAMP, commands


def wanted(command_id: str, device=BUTTON, expires_at: float = 100.0) -> CommandWanted:
    return CommandWanted(command_id, device, command_id.encode(), expires_at)


def test_commands_of_a_device_leave_in_order_of_posting():
    queue = CommandQueue(5.0, 16)
    for command_id in ("b", "a", "c"):
        queue.add(wanted(command_id))
    effects = queue.send_waiting("s", {BUTTON.identity}, 0.0)
    assert [command.command for command in commands(effects)] == [b"b", b"a", b"c"]


def test_only_connected_devices_are_sent_to():
    queue = CommandQueue(5.0, 16)
    queue.add(wanted("a", BUTTON))
    queue.add(wanted("b", LAMP))
    effects = queue.send_waiting("s", {LAMP.identity}, 0.0)
    assert [command.command for command in commands(effects)] == [b"b"]


def test_every_command_expires_at_its_own_time():
    queue = CommandQueue(5.0, 16)
    queue.add(wanted("late", expires_at=20.0))
    queue.add(wanted("soon", expires_at=10.0))
    assert queue.next_deadline == 10.0
    assert queue.expire(9.9) == []
    assert queue.expire(10.0) == [CommandFinished("soon", CommandState.EXPIRED)]
    assert queue.next_deadline == 20.0


def test_a_sent_command_does_not_expire_any_more():
    queue = CommandQueue(5.0, 16)
    queue.add(wanted("a", expires_at=10.0))
    queue.send_waiting("s", {BUTTON.identity}, 8.0)
    assert queue.next_deadline == 13.0
    assert queue.expire(10.0) == []


def test_an_answer_is_taken_once():
    queue = CommandQueue(5.0, 16)
    queue.send_first("s", BUTTON, 0.0)
    sent = queue.answered(0)
    assert sent is not None
    assert sent.identity == BUTTON.identity
    assert queue.answered(0) is None
    assert queue.is_all_answered


def test_an_unanswered_command_is_overdue():
    queue = CommandQueue(5.0, 16)
    queue.send_first("s", BUTTON, 0.0)
    assert not queue.is_overdue(4.9)
    assert queue.is_overdue(5.0)
    queue.extend(4.0)
    assert not queue.is_overdue(5.0)


def test_forgetting_reports_the_posted_commands_only():
    queue = CommandQueue(5.0, 16)
    queue.send_first("s", BUTTON, 0.0)
    queue.add(wanted("a"))
    queue.send_waiting("s", {BUTTON.identity}, 0.0)
    assert queue.forget_sent() == [CommandFinished("a", CommandState.UNANSWERED)]
    assert queue.is_all_answered


def test_the_counter_wraps():
    queue = CommandQueue(5.0, 16)
    queue._next_counter = COUNTER_MODULUS - 1
    effects = queue.send_first("s", BUTTON, 0.0) + queue.send_first("s", BUTTON, 0.0)
    assert [command.counter for command in commands(effects)] == [COUNTER_MODULUS - 1, 0]
