"""Answers the commands of one session (fleet-protocol 4.6, contract R13, R19)."""

from __future__ import annotations

from module_gateway.external_client.command_order import MAX_OPEN, CommandOrder, Place
from module_gateway.external_client.effects import Count, Forward, Publish, SessionEffect
from module_gateway.external_client.rules import Rules
from module_gateway.external_client.sender import StatusSender
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import Command, CommandResponse, CommandResponseType


class CommandDesk:
    """Decides what can be decided here and forwards the rest to the handler of the device."""

    def __init__(self, session: int, session_id: str, rules: Rules, sender: StatusSender) -> None:
        self._session = session
        self._session_id = session_id
        self._rules = rules
        self._sender = sender
        self._order = CommandOrder()

    @property
    def open_commands(self) -> int:
        """How many wait for a handler's verdict."""
        return self._order.open_commands

    def receive(self, command: Command, now: float) -> list[SessionEffect] | None:
        """Answer or forward a command of this session; None when it is out of order."""
        match self._order.place(command):
            case Place.REPEATED:
                counted = Count(Reason.COMMAND_REPEATED)
                response = self._order.last_answer
                return [counted] if response is None else [counted, self._say(command, response)]
            case Place.OUT_OF_ORDER:
                return None
            case Place.NEXT:
                return self._consider(command, now)

    def decide(self, counter: int, response: int) -> list[SessionEffect]:
        """A verdict of this session."""
        command = self._order.opened(counter)
        if command is None:
            return [Count(Reason.COMMAND_REPEATED)]
        is_announced = self._sender.is_announced(command.device.identity)
        if response == CommandResponseType.DEVICE_NOT_CONNECTED and is_announced:
            response = CommandResponseType.INVALID_COMMAND  # or the peer forgets the device (R13)
        return [self._answer(command, response)]

    def due(self, now: float) -> list[Forward]:
        """Commands whose verdict is overdue."""
        return [Forward(self._session, command) for command in self._order.due(now)]

    def next_retry(self) -> float | None:
        """When `due` gives the next one."""
        return self._order.next_retry()

    def _consider(self, command: Command, now: float) -> list[SessionEffect]:
        identity = command.device.identity
        if identity.module not in self._rules.modules:
            return self._refuse(command, CommandResponseType.DEVICE_NOT_SUPPORTED)
        if self._sender.is_announced(identity):
            if not command.command:
                return [self._answer(command, CommandResponseType.OK)]
            if self._order.open_commands >= MAX_OPEN:
                refusal = self._answer(command, CommandResponseType.INVALID_COMMAND)
                return [Count(Reason.QUEUE_FULL), refusal]
            self._order.forward(command, now)
            return [Forward(self._session, command)]
        if not self._rules.supports(identity):
            return self._refuse(command, CommandResponseType.DEVICE_NOT_SUPPORTED)
        return self._refuse(command, CommandResponseType.DEVICE_NOT_CONNECTED)

    def _refuse(self, command: Command, response: CommandResponseType) -> list[SessionEffect]:
        is_absent = response is CommandResponseType.DEVICE_NOT_CONNECTED
        reason = Reason.DEVICE_NOT_CONNECTED if is_absent else Reason.DEVICE_NOT_SUPPORTED
        return [Count(reason), self._answer(command, response)]

    def _answer(self, command: Command, response: int) -> Publish:
        self._order.answer(command.counter, response)
        return self._say(command, response)

    def _say(self, command: Command, response: int) -> Publish:
        return Publish(CommandResponse(self._session_id, response, command.counter))
