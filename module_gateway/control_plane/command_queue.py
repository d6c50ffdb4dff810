"""Commands of one vehicle: waiting per device in order of posting, then sent and unanswered."""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

from module_gateway.control_plane.events import (
    Change,
    CommandFinished,
    CommandSent,
    CommandState,
    CommandWanted,
    Effect,
    Publish,
)
from module_gateway.protocol.external import Command, CommandResponseType
from module_gateway.protocol.identity import Device, Identity

COUNTER_MODULUS: Final = 2**32
"""messageCounter is a uint32 that goes on across sessions (fleet-protocol 4.5)."""

OUTCOMES: Final[Mapping[int, CommandState]] = {
    CommandResponseType.OK: CommandState.OK,
    CommandResponseType.DEVICE_NOT_CONNECTED: CommandState.DEVICE_NOT_CONNECTED,
    CommandResponseType.DEVICE_NOT_SUPPORTED: CommandState.DEVICE_NOT_SUPPORTED,
    CommandResponseType.INVALID_COMMAND: CommandState.INVALID_COMMAND,
}
"""What a gateway's answer makes of a command; any other number is a refusal."""


@dataclass(slots=True)
class Sent:
    """A command under way. `command_id` is None for the empty one of a connect sequence."""

    identity: Identity
    command_id: str | None
    answer_by: float


class CommandQueue:
    """Pure bookkeeping; what is posted is bounded by whoever posts (`store.add_command`)."""

    def __init__(self, answer_within_s: float, window: int) -> None:
        """`window`: most commands of a running session that may be unanswered."""
        self._answer_within_s = answer_within_s
        self._window = window
        self._waiting: dict[Identity, dict[str, CommandWanted]] = {}
        self._expiries: list[tuple[float, str, Identity]] = []
        self._sent: dict[int, Sent] = {}
        self._next_counter = 0

    @property
    def is_all_answered(self) -> bool:
        """Nothing is under way."""
        return not self._sent

    @property
    def next_deadline(self) -> float | None:
        """When the next command expires or is overdue (monotonic s)."""
        self._forget_stale_expiries()
        deadlines = [sent.answer_by for sent in self._sent.values()]
        if self._expiries:
            deadlines.append(self._expiries[0][0])
        return min(deadlines, default=None)

    def add(self, wanted: CommandWanted) -> None:
        """Let a posted command wait for its device."""
        identity = wanted.device.identity
        self._waiting.setdefault(identity, {})[wanted.command_id] = wanted
        heapq.heappush(self._expiries, (wanted.expires_at, wanted.command_id, identity))

    def expire(self, now: float) -> list[Change]:
        """Give up what waited for too long."""
        changes: list[Change] = []
        while self._expiries and self._expiries[0][0] <= now:
            _, command_id, identity = heapq.heappop(self._expiries)
            if self._remove(identity, command_id):
                changes.append(CommandFinished(command_id, CommandState.EXPIRED))
        return changes

    def send_first(self, session_id: str, device: Device, now: float) -> list[Effect]:
        """The one command that the connect sequence owes a device: a waiting one, or empty."""
        waiting = self._waiting.get(device.identity)
        if waiting:
            return self._send(session_id, next(iter(waiting.values())), now)
        return [self._publish(session_id, device, b"", None, now)]

    def send_waiting(
        self, session_id: str, connected: Container[Identity], now: float
    ) -> list[Effect]:
        """What waits for a connected device, as far as the window allows."""
        effects: list[Effect] = []
        for identity in [identity for identity in self._waiting if identity in connected]:
            while len(self._sent) < self._window and identity in self._waiting:
                first = next(iter(self._waiting[identity].values()))
                effects += self._send(session_id, first, now)
        return effects

    def answered(self, counter: int) -> Sent | None:
        """Take the command with this counter off the list; None when it is not on it."""
        return self._sent.pop(counter, None)

    def extend(self, now: float) -> None:
        """The gateway is working its way through a sequence: everybody's time starts anew."""
        for sent in self._sent.values():
            sent.answer_by = now + self._answer_within_s

    def is_overdue(self, now: float) -> bool:
        """Some command has waited too long for its answer."""
        return any(sent.answer_by <= now for sent in self._sent.values())

    def forget_sent(self) -> list[Change]:
        """The session is over. Nothing is sent twice: an old START must not overtake a new STOP."""
        changes: list[Change] = [
            CommandFinished(sent.command_id, CommandState.UNANSWERED)
            for sent in self._sent.values()
            if sent.command_id is not None
        ]
        self._sent.clear()
        return changes

    def _send(self, session_id: str, wanted: CommandWanted, now: float) -> list[Effect]:
        self._remove(wanted.device.identity, wanted.command_id)
        sent = CommandSent(wanted.command_id, self._next_counter)
        return [
            sent,
            self._publish(session_id, wanted.device, wanted.command, wanted.command_id, now),
        ]

    def _publish(
        self, session_id: str, device: Device, command: bytes, command_id: str | None, now: float
    ) -> Publish:
        counter = self._next_counter
        self._next_counter = (counter + 1) % COUNTER_MODULUS
        self._sent[counter] = Sent(device.identity, command_id, now + self._answer_within_s)
        # Priority is 0 in every command, as from the existing server (fleet-protocol 1.4).
        addressee = Device(device.identity, device.name)
        return Publish(Command(session_id, counter, addressee, command))

    def _remove(self, identity: Identity, command_id: str) -> bool:
        waiting = self._waiting.get(identity, {})
        is_removed = waiting.pop(command_id, None) is not None
        if not waiting:
            self._waiting.pop(identity, None)
        return is_removed

    def _forget_stale_expiries(self) -> None:
        while self._expiries:
            _, command_id, identity = self._expiries[0]
            if command_id in self._waiting.get(identity, {}):
                return
            heapq.heappop(self._expiries)
