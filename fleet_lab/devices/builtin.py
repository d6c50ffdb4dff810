"""Statuses that look like the real devices', one class per built-in module (fleet-protocol 6).

Every status carries the number of its attempt in the key `n` where the module tolerates extra
keys; io and example have exact shapes without room for it. All randomness comes from the
generator that is passed in, so the same seed gives the same statuses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from fleet_lab.device import Payloads

JsonObject = dict[str, Any]


def _encode(payload: object) -> bytes:
    return json.dumps(payload).encode()


def _decode(payload: bytes) -> object:
    """The JSON value, None for anything else: a command is the peer's text."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


class CarAccessory:
    """A button that is pressed now and then, and whose light obeys (fleet-protocol 6.5)."""

    def __init__(self, rng: Random, device_type: int) -> None:
        del device_type
        self._rng = rng
        self.is_pressed = False
        self.is_lit = False

    def status(self, number: int) -> bytes:
        """`{"pressed": …, "n": number}`."""
        self.is_pressed = self._rng.random() < 0.5  # noqa: PLR2004  # a fair coin
        return _encode({"pressed": self.is_pressed, "n": number})

    def commanded(self, command: bytes) -> None:
        """Remember the light."""
        match _decode(command):
            case {"lit_up": bool(is_lit)}:
                self.is_lit = is_lit


class Example:
    """The example button: two exact texts and nothing else (fleet-protocol 6.4)."""

    PRESSED: Final = b'{"pressed": true}'
    RELEASED: Final = b'{"pressed": false}'

    def __init__(self, rng: Random, device_type: int) -> None:
        del device_type
        self._rng = rng

    def status(self, number: int) -> bytes:
        """Pressed or released, by chance."""
        del number
        return self._rng.choice((self.PRESSED, self.RELEASED))

    def commanded(self, command: bytes) -> None:
        """The light is nobody's concern here."""


class Transparent:
    """Any device of a module that looks into nothing (fleet-protocol 6.3)."""

    def __init__(self, rng: Random, device_type: int) -> None:
        self._rng = rng
        self._device_type = device_type
        self._value = 20.0

    def status(self, number: int) -> bytes:
        """A reading that wanders."""
        self._value = round(self._value + self._rng.uniform(-0.5, 0.5), 2)
        return _encode({"type": self._device_type, "value": self._value, "n": number})

    def commanded(self, command: bytes) -> None:
        """Nothing obeys."""


@dataclass(frozen=True, slots=True)
class IoShape:
    """How many inputs and outputs a device type has, and whether it has a button."""

    inputs: int
    outputs: int
    has_button: bool


IO_SHAPES: Final[Mapping[int, IoShape]] = {
    1: IoShape(6, 4, has_button=True),
    2: IoShape(4, 4, has_button=False),
    3: IoShape(6, 7, has_button=False),
    4: IoShape(1, 0, has_button=True),
}
"""Opta, Mega, Uno, Button (fleet-protocol 6.2)."""

_SET_OFF, _SET_ON, _TOGGLE = 0, 1, 2


class Io:
    """A board whose inputs flicker and whose outputs obey (fleet-protocol 6.2)."""

    def __init__(self, rng: Random, device_type: int) -> None:
        shape = IO_SHAPES.get(device_type, IO_SHAPES[1])
        self._rng = rng
        self._shape = shape
        self._inputs = [False] * shape.inputs
        self.outputs = [False] * shape.outputs

    def status(self, number: int) -> bytes:
        """Inputs, outputs, button, all numbered from 1."""
        del number
        flipped = self._rng.randrange(len(self._inputs))
        self._inputs[flipped] = not self._inputs[flipped]
        presses = self._rng.choice((0, 0, 0, 1, 2)) if self._shape.has_button else 0
        return _encode(
            [
                [{"inNum": i, "inSt": state} for i, state in enumerate(self._inputs, 1)],
                [
                    {"outNum": i, "outErr": False, "outSt": state}
                    for i, state in enumerate(self.outputs, 1)
                ],
                {"butPr": presses},
            ]
        )

    def commanded(self, command: bytes) -> None:
        """Switch what the command names; anything that is not there is ignored."""
        actions = _decode(command)
        for action in actions if isinstance(actions, list) else []:
            match action:
                case {"outNum": int(number), "actType": int(act)} if 1 <= number <= len(
                    self.outputs
                ) and act in (_SET_OFF, _SET_ON, _TOGGLE):
                    old = self.outputs[number - 1]
                    self.outputs[number - 1] = not old if act == _TOGGLE else act == _SET_ON


def _station(name: str, latitude: float, longitude: float) -> JsonObject:
    position = {"latitude": latitude, "longitude": longitude, "altitude": 240.0}
    return {"name": name, "position": position}


TOUR: Final = (
    _station("Depot", 49.1951, 16.6068),
    _station("Square", 49.1968, 16.6105),
    _station("Station", 49.1907, 16.6128),
)
"""Where a vehicle drives until somebody tells it otherwise."""

_STATUSES_PER_LEG: Final = 12
_STATUSES_IN_STOP: Final = 3


class Mission:
    """A vehicle that tours three stops, or drives the stops that a command gives it.

    START with stops replaces the tour, STOP (or START without stops) halts; NO_ACTION, which a
    gateway answers before anybody gave a command, changes nothing. Fleet-protocol 6.1.
    """

    def __init__(self, rng: Random, device_type: int) -> None:
        del device_type
        self._rng = rng
        self._stops: list[JsonObject] = list(TOUR)
        self._is_tour = True
        self._is_driving = True
        self._step = 0
        self._fuel = 0.9
        self._speed = 5.0
        self._at: JsonObject = dict(TOUR[-1]["position"])

    def status(self, number: int) -> bytes:
        """State, telemetry and next stop of this moment."""
        state = self._advance()
        if state == "DRIVE":
            self._speed = min(max(self._speed + self._rng.uniform(-0.8, 0.8), 1.5), 12.0)
            self._fuel = max(self._fuel - 0.0002, 0.05)
        telemetry = {
            "speed": round(self._speed, 2) if state == "DRIVE" else 0.0,
            "fuel": round(self._fuel, 4),
            "position": {axis: round(value, 6) for axis, value in self._at.items()},
        }
        next_stop = self._stops[0] if self._stops and state != "IDLE" else None
        return _encode({"state": state, "telemetry": telemetry, "nextStop": next_stop, "n": number})

    def commanded(self, command: bytes) -> None:
        """Obey START and STOP."""
        match _decode(command):
            case {"action": "START", "stops": [_, *_] as stops} if all(map(_is_station, stops)):
                if self._is_tour or stops[0] != (self._stops[0] if self._stops else None):
                    self._step = 0
                self._stops, self._is_tour, self._is_driving = list(stops), False, True
            case {"action": "STOP"} | {"action": "START", "stops": []}:
                self._is_driving = False

    def _advance(self) -> str:
        if not self._is_driving or not self._stops:
            return "IDLE"
        self._step += 1
        if self._step > _STATUSES_PER_LEG + _STATUSES_IN_STOP:
            self._leave_stop()
            if not self._stops:
                return "IDLE"
        if self._step > _STATUSES_PER_LEG:
            return "IN_STOP"
        remaining = _STATUSES_PER_LEG - self._step + 1
        goal = self._stops[0]["position"]
        self._at = {axis: at + (goal[axis] - at) / remaining for axis, at in self._at.items()}
        return "DRIVE"

    def _leave_stop(self) -> None:
        left = self._stops.pop(0)
        if self._is_tour:
            self._stops.append(left)
        self._step = 1


def _is_station(stop: object) -> bool:
    match stop:
        case {"position": {"latitude": at, "longitude": along, "altitude": high}}:
            return all(isinstance(v, int | float) and math.isfinite(v) for v in (at, along, high))
    return False


@dataclass(frozen=True, slots=True)
class Kind:
    """A built-in module as the lab knows it from outside."""

    number: int
    device_type: int
    make: Callable[[Random, int], Payloads]


KINDS: Final[Mapping[str, Kind]] = {
    "mission": Kind(1, 1, Mission),
    "io": Kind(2, 1, Io),
    "transparent": Kind(3, 0, Transparent),
    "example": Kind(1000, 0, Example),
    "car_accessory": Kind(1001, 0, CarAccessory),
}
"""Default number and device type of each, as in the gateway's default configuration."""


def kind_of_number(number: int) -> Kind:
    """The built-in that has this number by default; anything else behaves as transparent."""
    known = (kind for kind in KINDS.values() if kind.number == number)
    return next(known, Kind(number, 0, Transparent))
