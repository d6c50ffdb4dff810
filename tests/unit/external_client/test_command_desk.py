from __future__ import annotations

import pytest

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.command_desk import CommandDesk
from module_gateway.external_client.effects import Forward, Guest, Publish
from module_gateway.external_client.rules import Rules
from module_gateway.external_client.sender import StatusSender
from module_gateway.protocol.external import Command, CommandResponse
from module_gateway.protocol.identity import Device
from tests.unit.external_client.world import MODULE, TraceModule, device

A = device("a")
OK, NOT_CONNECTED, NOT_SUPPORTED, INVALID = range(4)


@pytest.fixture
def desk() -> CommandDesk:
    modules = {MODULE: TraceModule()}
    sender = StatusSender("session", Backlog(modules), 16, 30.0)
    sender.connect_guest(Guest(A, b""))
    return CommandDesk(3, "session", Rules("acme", "van", modules), sender)


def ask(desk: CommandDesk, who: Device, payload: bytes = b"go") -> list[int]:
    effects = desk.receive(Command("session", 1, who, payload), 0.0)
    assert effects is not None
    return [
        each.message.response
        for each in effects
        if isinstance(each, Publish) and isinstance(each.message, CommandResponse)
    ]


@pytest.mark.parametrize(
    ("who", "payload", "expected"),
    [
        (A, b"", [OK]),
        (A, b"go", []),
        (device("b"), b"go", [NOT_CONNECTED]),
        (Device.of(MODULE, 9, "a"), b"go", [NOT_SUPPORTED]),
        (Device.of(77, 0, "a"), b"go", [NOT_SUPPORTED]),
        (Device.of(MODULE, 0, "a", "another name", 5), b"", [OK]),
    ],
)
def test_what_can_be_decided_here(
    desk: CommandDesk, who: Device, payload: bytes, expected: list[int]
) -> None:
    assert expected == ask(desk, who, payload)


@pytest.mark.parametrize(
    ("verdict", "expected"), [(OK, OK), (INVALID, INVALID), (NOT_CONNECTED, INVALID)]
)
def test_verdict_of_the_handler(desk: CommandDesk, verdict: int, expected: int) -> None:
    order = Command("session", 1, A, b"go")
    assert [Forward(3, order)] == desk.receive(order, 0.0)
    assert [Publish(CommandResponse("session", expected, 1))] == desk.decide(1, verdict)


def test_late_second_verdict_is_dropped(desk: CommandDesk) -> None:
    ask(desk, A)
    desk.decide(1, OK)
    assert not any(isinstance(each, Publish) for each in desk.decide(1, OK))


def test_repetition_of_an_unanswered_command_waits_with_it(desk: CommandDesk) -> None:
    assert [] == ask(desk, A)
    assert [] == ask(desk, A)
    assert 1 == desk.open_commands
    assert 1 == len(desk.due(0.5))
