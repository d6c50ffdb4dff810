"""Ready-made devices, one class per built-in module of a gateway (fleet-protocol 6).

They behave as the real ones do; io and mission also hear a command that is repeated, to the
others a repeat means nothing. A status is a function of the seed, of the number of statuses before
it and of the commands, never of the clock. io and example have exact shapes without room for the
number of the attempt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from fleet_lab.devices.api import Device, Payload, State
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import EXIT_CONFIG, LabError

JsonObject = dict[str, Any]


def _decode(payload: bytes) -> object:
    """The JSON value, None for anything else: a command is the peer's text."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


class CarAccessory(Device):
    """A button that is pressed now and then, and whose light obeys (fleet-protocol 6.5)."""

    module = 1001
    device_type = 0
    is_pressed = State(False)
    is_lit = State(False)

    def sample(self) -> Payload:
        """`{"pressed": …}`."""
        self.is_pressed = self.rng.random() < 0.5  # noqa: PLR2004  # a fair coin
        return {"pressed": self.is_pressed}

    def on_command(self, payload: bytes) -> None:
        """Remember the light."""
        match _decode(payload):
            case {"lit_up": bool(is_lit)}:
                self.is_lit = is_lit


class Example(Device):
    """The example button: two exact texts and nothing else (fleet-protocol 6.4)."""

    module = 1000
    device_type = 0
    numbered = False
    is_pressed = State(False)

    def sample(self) -> Payload:
        """Pressed or released, by chance."""
        self.is_pressed = self.rng.random() < 0.5  # noqa: PLR2004  # a fair coin
        return b'{"pressed": true}' if self.is_pressed else b'{"pressed": false}'

    def on_command(self, payload: bytes) -> None:
        """The light is nobody's concern here."""


class Transparent(Device):
    """Any device of a module that looks into nothing (fleet-protocol 6.3)."""

    module = 3
    device_type = 0
    value = State(20.0)

    def sample(self) -> Payload:
        """A reading that wanders."""
        self.value = round(self.value + self.rng.uniform(-0.5, 0.5), 2)
        return {"type": self.device_type, "value": self.value}


@dataclass(frozen=True, slots=True)
class Board:
    """How many inputs and outputs a device type has, and whether it has a button."""

    inputs: int
    outputs: int
    has_button: bool


BOARDS: Final[Mapping[int, Board]] = MappingProxyType(
    {
        1: Board(6, 4, has_button=True),
        2: Board(4, 4, has_button=False),
        3: Board(6, 7, has_button=False),
        4: Board(1, 0, has_button=True),
    }
)
"""Opta, Mega, Uno, Button (fleet-protocol 6.2)."""

_SET_OFF, _SET_ON, _TOGGLE = 0, 1, 2


class Io(Device):
    """A board whose inputs flicker and whose outputs obey (fleet-protocol 6.2)."""

    module = 2
    device_type = 1
    numbered = False
    hears_repeats = True
    inputs = State[list[bool]]([])
    outputs = State[list[bool]]([])

    def __init__(
        self,
        id: str,  # noqa: A002  # the one word for it
        rng: Stream | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(id, rng, options)
        self._board = BOARDS.get(self.device_type, BOARDS[1])
        self.inputs = [False] * self._board.inputs
        self.outputs = [False] * self._board.outputs

    def sample(self) -> Payload:
        """Inputs, outputs, button, all numbered from 1."""
        flipped = self.rng.below(len(self.inputs))
        self.inputs[flipped] = not self.inputs[flipped]
        presses = self.rng.choice((0, 0, 0, 1, 2)) if self._board.has_button else 0
        parts = [
            [{"inNum": i, "inSt": state} for i, state in enumerate(self.inputs, 1)],
            [
                {"outNum": i, "outErr": False, "outSt": state}
                for i, state in enumerate(self.outputs, 1)
            ],
            {"butPr": presses},
        ]
        return json.dumps(parts).encode()

    def on_command(self, payload: bytes) -> None:
        """Switch what the command names; anything that is not there is ignored."""
        actions = _decode(payload)
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


class Mission(Device):
    """A vehicle that drives the stops of a command (fleet-protocol 6.1).

    START with stops drives to the first of them, unless it is under way there already; STOP,
    NO_ACTION and START without stops cancel the drive. Until its first START or STOP it tours
    `options["tour"]` (a list of stops; three by default), and NO_ACTION, which a gateway answers
    before anybody gave a command, lets it: a vehicle that nobody commands would be a dull one.
    With `tour = []` it waits for its first command.
    """

    module = 1
    device_type = 1
    hears_repeats = True
    activity = State("IDLE")
    speed = State(5.0)
    fuel = State(0.9)
    stops = State[list[JsonObject]]([])
    """What is ahead, the next one first."""

    def __init__(
        self,
        id: str,  # noqa: A002  # the one word for it
        rng: Stream | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(id, rng, options)
        tour = options.get("tour", TOUR)
        if not (isinstance(tour, list | tuple) and all(map(_is_station, tour))):
            raise LabError(
                f"device {id}: option 'tour' must be a list of stops like {json.dumps(TOUR[0])}",
                EXIT_CONFIG,
            )
        self.stops = list(tour)
        self._is_tour = True
        self._here: JsonObject | None = None
        self._stay = 0
        self._leg = _STATUSES_PER_LEG
        start = tour[-1] if tour else TOUR[0]
        self._at: JsonObject = dict(start["position"])

    def sample(self) -> Payload:
        """State, telemetry and next stop of this moment."""
        goal = self._advance()
        is_driving = self.activity == "DRIVE"
        if is_driving:
            self.speed = min(max(self.speed + self.rng.uniform(-0.8, 0.8), 1.5), 12.0)
            self.fuel = max(self.fuel - 0.0002, 0.05)
        telemetry = {
            "speed": round(self.speed, 2) if is_driving else 0.0,
            "fuel": round(self.fuel, 4),
            "position": {axis: round(value, 6) for axis, value in self._at.items()},
        }
        return {"state": self.activity, "telemetry": telemetry, "nextStop": goal}

    def on_command(self, payload: bytes) -> None:
        """Obey START, STOP and NO_ACTION."""
        match _decode(payload):
            case {"action": "START", "stops": [_, *_] as stops} if all(map(_is_station, stops)):
                is_under_way = bool(self.stops) and self.stops[0] == stops[0]
                if self._here is None and not is_under_way:
                    self._leg = _STATUSES_PER_LEG
                self.stops, self._is_tour = list(stops), False
            case {"action": "STOP"} | {"action": "START", "stops": []}:
                self._cancel()
            case {"action": "NO_ACTION"} if not self._is_tour:
                self._cancel()

    def _cancel(self) -> None:
        self.stops, self._is_tour, self._here = [], False, None
        self._leg = _STATUSES_PER_LEG

    def _advance(self) -> JsonObject | None:
        """One status further; the stop to name in it."""
        if self._here is not None:
            if self._stay > 0:
                self._stay -= 1
                self.activity = "IN_STOP"
                return self._here
            self._leave()
        if not self.stops:
            self.activity = "IDLE"
            return None
        goal = self.stops[0]
        for axis, value in self._at.items():
            self._at[axis] = value + (goal["position"][axis] - value) / self._leg
        self._leg -= 1
        if self._leg == 0:
            self._here, self._stay = self.stops.pop(0), _STATUSES_IN_STOP
        self.activity = "DRIVE"
        return goal

    def _leave(self) -> None:
        if self._is_tour and self._here is not None:
            self.stops.append(self._here)
        elif self.stops and self.stops[0] == self._here:
            del self.stops[0]  # the gateway has not ticked it off, but it has been visited
        self._here, self._leg = None, _STATUSES_PER_LEG


def _is_station(stop: object) -> bool:
    match stop:
        case {"position": {"latitude": at, "longitude": along, "altitude": high}}:
            return all(isinstance(v, int | float) and math.isfinite(v) for v in (at, along, high))
    return False


BUILTIN: Final[Mapping[str, type[Device]]] = MappingProxyType(
    {
        "mission": Mission,
        "io": Io,
        "transparent": Transparent,
        "example": Example,
        "car_accessory": CarAccessory,
    }
)
"""By name; numbers and device types are those of the gateway's default configuration."""


def builtin_of_number(number: int) -> type[Device]:
    """The built-in that has this number by default; anything else behaves as transparent."""
    known = (make for make in BUILTIN.values() if make.module == number)
    return next(known, Transparent)
