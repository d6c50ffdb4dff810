"""Boards with inputs, outputs and a button (fleet-protocol 6.2).

A status is `[inputs, outputs, button]`:
`[[{"inNum":1,"inSt":false}], [{"outNum":1,"outErr":false,"outSt":true}], {"butPr":2}]`;
a command is `[{"outNum":1,"actType":1}]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import Field, RootModel

from module_gateway.modules.api import Module, Payload
from module_gateway.modules.json_payload import (
    Json,
    is_number,
    read,
    read_object,
    write,
)
from module_gateway.protocol.errors import ModuleError

SET_OFF: Final = 0
"""`actType` of a command; 1 is SET_ON, 2 TOGGLE."""

COMPAT_FIRST_OUTPUTS: Final = 4
"""The native module's first command names outputs 0 … 3 on every board."""


@dataclass(frozen=True, slots=True)
class Board:
    """How many of each a device type has."""

    inputs: int
    outputs: int
    publishes_presses: bool = False


BUTTON: Final = 4
BOARDS: Final = {
    1: Board(inputs=6, outputs=4, publishes_presses=True),  # Arduino Opta
    2: Board(inputs=4, outputs=4),  # Arduino Mega
    3: Board(inputs=6, outputs=7),  # Arduino Uno
    BUTTON: Board(inputs=1, outputs=0),
}


class IoInput(Payload):
    """One input; numbers start at 1."""

    number: int = Field(alias="inNum")
    is_on: bool = Field(alias="inSt")


class IoOutput(Payload):
    """One output; numbers start at 1."""

    number: int = Field(alias="outNum")
    has_error: bool = Field(alias="outErr")
    is_on: bool = Field(alias="outSt")


class IoButton(Payload):
    """How often the button was pressed since the last status."""

    presses: int = Field(alias="butPr")


class IoAction(Payload):
    """What to do with one output: 0 SET_OFF, 1 SET_ON, 2 TOGGLE."""

    number: int = Field(alias="outNum")
    action: int = Field(alias="actType")


class IoStatusPayload(RootModel[tuple[list[IoInput], list[IoOutput] | None, IoButton]]):
    """`[inputs, outputs, button]`."""


class IoCommandPayload(RootModel[list[IoAction]]):
    """Any number of actions."""


@dataclass(frozen=True, slots=True)
class IoStatus:
    """A status in number order; what a number outside of the board said is left out."""

    inputs: tuple[bool, ...]
    outputs: tuple[tuple[bool, bool], ...]
    """Pairs (has_error, is_on)."""
    presses: int

    @classmethod
    def read(cls, payload: bytes, board: Board) -> IoStatus:
        """Read it, or raise ModuleError saying what is wrong."""
        parts = read(payload)
        if not isinstance(parts, list) or len(parts) < len(("inputs", "outputs", "button")):
            raise ModuleError("the status is no array of inputs, outputs and button")
        inputs = [False] * board.inputs
        for number, entry in _entries(parts[0], board.inputs, "inNum"):
            is_on = _flag(entry, "inSt")
            if 1 <= number <= board.inputs:
                inputs[number - 1] = is_on
        outputs = [(False, False)] * board.outputs
        for number, entry in _entries(parts[1], board.outputs, "outNum"):
            output = (_flag(entry, "outErr"), _flag(entry, "outSt"))
            if 1 <= number <= board.outputs:
                outputs[number - 1] = output
        button = parts[2]
        presses = button.get("butPr") if isinstance(button, dict) else None
        if not is_number(presses):
            raise ModuleError("the status has no number 'butPr'")
        return cls(tuple(inputs), tuple(outputs), max(0, int(presses)))

    def write(self) -> bytes:
        """The one spelling of this status."""
        inputs = [{"inNum": n, "inSt": is_on} for n, is_on in enumerate(self.inputs, 1)]
        outputs = [
            {"outNum": n, "outErr": has_error, "outSt": is_on}
            for n, (has_error, is_on) in enumerate(self.outputs, 1)
        ]
        return write([inputs, outputs or None, {"butPr": self.presses}])


class IoModule(Module):
    """Publishes what changed; an outage reports how often the button was pressed.

    The first command switches every output of the board off; a board without outputs gets `[]`.
    With `strict-compat` it is the native module's: outputs 0 … 3 whatever the board and the
    numbering, and `null` for the Button; and a device without a current status publishes nothing.
    The range of `outNum` and `actType` is the device's own business.
    """

    name = "io"
    default_number = 2
    device_types: ClassVar[frozenset[int] | None] = frozenset(BOARDS)
    StatusPayload = IoStatusPayload
    CommandPayload = IoCommandPayload

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        try:
            IoStatus.read(status, _board(device_type))
        except ModuleError:
            return False
        return True

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        del device_type
        try:
            actions = read(command)
        except ModuleError:
            return False
        if actions is None or actions == {}:
            return True
        return isinstance(actions, list) and all(
            isinstance(action, dict)
            and type(action.get("outNum")) is int
            and type(action.get("actType")) is int
            for action in actions
        )

    def generate_first_command(self, device_type: int) -> bytes:
        board = _board(device_type)
        if self.settings.strict_compat:
            if device_type == BUTTON:
                return b"null"
            numbers = range(COMPAT_FIRST_OUTPUTS)
        else:
            numbers = range(1, board.outputs + 1)
        return write([{"outNum": number, "actType": SET_OFF} for number in numbers])

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        del since_published_s
        board = _board(device_type)
        after = IoStatus.read(new, board)
        if not current and not self.settings.strict_compat:
            return True
        before = IoStatus.read(current, board)
        if (before.inputs, before.outputs) != (after.inputs, after.outputs):
            return True
        # Presses are counts since the last status: the same count twice is news twice.
        return board.publishes_presses and (after.presses > 0 or before.presses > 0)

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        del current
        return IoStatus.read(new, _board(device_type)).write()

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        after = IoStatus.read(status, _board(device_type))
        presses = read_object(error).get("aggregatedButtonPresses") if error else 0
        if type(presses) is not int:
            raise ModuleError("the error aggregate has no number 'aggregatedButtonPresses'")
        added = 0 if device_type == BUTTON else after.presses
        return write({"aggregatedButtonPresses": presses + added})


def _board(device_type: int) -> Board:
    board = BOARDS.get(device_type)
    if board is None:
        raise ModuleError(f"device type {device_type} is no board")
    return board


def _entries(part: Json, count: int, key: str) -> Iterator[tuple[int, dict[str, Json]]]:
    """The first `count` entries with their numbers; more are ignored, fewer are an error."""
    if count == 0:
        return
    if not isinstance(part, list) or len(part) < count:
        raise ModuleError(f"the status has fewer than {count} entries with {key!r}")
    for entry in part[:count]:
        number = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or type(number) is not int:
            raise ModuleError(f"an entry of the status has no number {key!r}")
        yield number, entry


def _flag(entry: dict[str, Json], key: str) -> bool:
    value = entry.get(key)
    if not isinstance(value, bool):
        raise ModuleError(f"an entry of the status has no true or false {key!r}")
    return value
