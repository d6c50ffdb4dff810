"""A device without a line of Python: its statuses come from a payload template.

    {"celsius": {"$walk": {"start": 20, "step": 0.5, "min": -10, "max": 40}},
     "load":    {"$sine": {"mean": 50, "amplitude": 30, "period": 60}},
     "mode":    {"$choice": ["auto", "manual"]},
     "ticks":   {"$counter": {"start": 1}},
     "speed":   {"$replay": "trip.csv", "column": "speed"},
     "unit":    "C"}

Everything that is no generator stays as it stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

from fleet_lab.devices import template_generators as make
from fleet_lab.devices.api import Device, Payload, State
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import EXIT_CONFIG, LabError, nearest

Begin: TypeAlias = Callable[[Stream], Iterator[Any]]
"""Starts one generator for one device."""

_NUMBER: Final = "a number"
_DIGITS_MAX: Final = 12
_DEPTH_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class _Generator:
    """A place of the template that is new in each status."""

    path: str
    begin: Begin


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an error is."""

    source: str
    path: str = "$"
    folder: Path = Path()
    depth: int = 0

    def at(self, key: str | int) -> _Place:
        """One step further in."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}"
        return _Place(self.source, self.path + step, self.folder, self.depth + 1)

    def wrong(self, what: str) -> LabError:
        """The error for this place."""
        return LabError(f"{self.source}: {self.path}: {what}", EXIT_CONFIG)


class Template:
    """A checked template; `values` starts it for one device.

    Raises:
        LabError: names the place in the template, what is wrong there and what is expected.
    """

    __slots__ = ("_tree",)

    def __init__(self, template: object, source: str = "template", folder: Path = Path()) -> None:
        self._tree = _checked(template, _Place(source, folder=folder))

    def values(self, rng: Stream) -> Iterator[Any]:
        """Endless payloads. Every generator draws from its own stream, named by its place."""
        start = _started(self._tree, rng)
        while True:
            yield start()


def read_template(path: Path) -> Template:
    """The template in a JSON file; files that it replays are sought beside it.

    Raises:
        LabError: as `Template`, or the file cannot be read.
    """
    try:
        template = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"template {path}: {error.strerror}", EXIT_CONFIG) from None
    except (ValueError, RecursionError) as error:
        raise LabError(f"template {path} is no JSON: {error}", EXIT_CONFIG) from None
    return Template(template, f"template {path}", path.parent)


class GenericDevice(Device):
    """Sends what its class's template gives, or the one in `options["template"]`."""

    template: ClassVar[Template | None] = None
    last = State[Any](None)
    """The payload of the last status, without its number."""

    def __init__(
        self,
        id: str,  # noqa: A002  # the one word for it
        rng: Stream | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(id, rng, options)
        template = self.template
        if template is None:
            if "template" not in options:
                raise LabError(f"device {id}: option 'template' is missing", EXIT_CONFIG)
            template = template_of(options["template"])
        self._values = template.values(self.rng)

    def sample(self) -> Payload:
        """The next payload; one that is no object travels as JSON without a number."""
        self.last = payload = next(self._values)
        return payload if isinstance(payload, dict) else json.dumps(payload).encode()


def template_of(what: object) -> Template:
    """A template, the path of one (text), or the JSON value itself.

    Raises:
        LabError: as `Template`.
    """
    if isinstance(what, Template):
        return what
    return read_template(Path(what)) if isinstance(what, str | Path) else Template(what)


def generic_device(template: Template) -> type[GenericDevice]:
    """The class of all devices that share this template."""
    return type("GenericDevice", (GenericDevice,), {"template": template})


def _started(node: object, rng: Stream) -> Callable[[], Any]:
    match node:
        case _Generator(path, begin):
            values = begin(rng.fork("template", path))
            return values.__next__
        case dict():
            members = [(key, _started(value, rng)) for key, value in node.items()]
            return lambda: {key: value() for key, value in members}
        case list():
            entries = [_started(value, rng) for value in node]
            return lambda: [value() for value in entries]
        case _:
            return lambda: node


def _checked(node: object, place: _Place) -> object:
    """The tree with its generators in place of the objects that describe them."""
    if place.depth > _DEPTH_MAX:
        raise place.wrong(f"nested more than {_DEPTH_MAX} deep")
    match node:
        case Mapping() if any(str(key).startswith("$") for key in node):
            return _generator(node, place)
        case Mapping():
            return {str(key): _checked(value, place.at(str(key))) for key, value in node.items()}
        case list() | tuple():
            return [_checked(value, place.at(index)) for index, value in enumerate(node)]
        case float() if not math.isfinite(node):
            raise place.wrong(f"{node} is no JSON number")
        case None | bool() | int() | float() | str():
            return node
        case _:
            raise place.wrong(f"{type(node).__name__} is no JSON")


def _generator(node: Mapping[str, Any], place: _Place) -> _Generator:
    names = [key for key in node if str(key).startswith("$")]
    name = names[0]
    known = _GENERATORS.get(name)
    if known is None:
        listed = ", ".join(_GENERATORS)
        raise place.at(name).wrong(
            f"unknown generator; expected one of {listed}{nearest(name, _GENERATORS)}"
        )
    if name == "$replay":
        return _Generator(place.path, _replay(node, place))
    if len(node) > 1:
        others = ", ".join(repr(key) for key in node if key != name)
        raise place.wrong(f"{name} stands alone in its object; move {others} out")
    return _Generator(place.path, known(node[name], place.at(name)))


def _parameters(
    value: object, place: _Place, defaults: Mapping[str, float | None]
) -> dict[str, float]:
    """Numbers by name; a default of None means that the number must be given."""
    if not isinstance(value, Mapping):
        raise place.wrong(f"is {_shown(value)}; expected an object with {', '.join(defaults)}")
    for key, number in value.items():
        if key not in defaults:
            listed = ", ".join(defaults)
            raise place.at(key).wrong(
                f"unknown key; expected one of {listed}{nearest(str(key), defaults)}"
            )
        if not _is_number(number):
            raise place.at(key).wrong(f"is {_shown(number)}; expected {_NUMBER}")
    found = {**defaults, **value}
    for key, number in found.items():
        if number is None:
            raise place.at(key).wrong(f"is missing; expected {_NUMBER}")
    digits = found.get("digits", 0)
    if type(digits) is not int or not 0 <= digits <= _DIGITS_MAX:
        raise place.at("digits").wrong(f"expected a whole number from 0 to {_DIGITS_MAX}")
    if found.get("min", 0.0) > found.get("max", math.inf):
        raise place.wrong("min is greater than max")
    return found


def _walk(value: object, place: _Place) -> Begin:
    found = _parameters(
        value, place, {"start": 0.0, "step": 1.0, "min": -math.inf, "max": math.inf, "digits": 3}
    )
    start, low, high = found["start"], found["min"], found["max"]
    if not low <= start <= high:
        raise place.at("start").wrong(f"is {start}; expected a number from {low} to {high}")
    return lambda rng: make.walk(rng, start, found["step"], low, high, int(found["digits"]))


def _sine(value: object, place: _Place) -> Begin:
    found = _parameters(
        value, place,
        {"mean": 0.0, "amplitude": 1.0, "period": 60.0, "phase": 0.0, "digits": 3},
    )  # fmt: skip
    if found["period"] <= 0:
        raise place.at("period").wrong("expected a number of statuses above 0")
    return lambda rng: make.sine(
        rng, found["mean"], found["amplitude"], found["period"], found["phase"],
        int(found["digits"]),
    )  # fmt: skip


def _uniform(value: object, place: _Place) -> Begin:
    found = _parameters(value, place, {"min": 0.0, "max": 1.0, "digits": 3})
    return lambda rng: make.uniform(rng, found["min"], found["max"], int(found["digits"]))


def _gauss(value: object, place: _Place) -> Begin:
    found = _parameters(value, place, {"mean": 0.0, "deviation": 1.0, "digits": 3})
    return lambda rng: make.gauss(rng, found["mean"], found["deviation"], int(found["digits"]))


def _counter(value: object, place: _Place) -> Begin:
    found = _parameters(value, place, {"start": 0, "step": 1, "wrap": 0})
    for key, number in found.items():
        if type(number) is not int:
            raise place.at(key).wrong(f"is {number}; expected a whole number")
    start, step, wrap = (int(found[key]) for key in ("start", "step", "wrap"))
    if wrap and not (start < wrap and step > 0):
        raise place.at("wrap").wrong("expected a number above start, and a step above 0")
    return lambda rng: make.counter(rng, start, step, wrap)


def _choice(value: object, place: _Place) -> Begin:
    weights: object = None
    options = value
    if isinstance(value, Mapping):
        for key in value:
            if key not in ("of", "weights"):
                close = nearest(str(key), ("of", "weights"))
                raise place.at(key).wrong(f"unknown key; expected of and weights{close}")
        options, weights = value.get("of"), value.get("weights")
    if not isinstance(options, list) or not options:
        raise place.wrong(f"is {_shown(value)}; expected a list with at least one entry")
    if weights is None:
        weights = [1.0] * len(options)
    is_fitting = (
        isinstance(weights, list)
        and len(weights) == len(options)
        and all(_is_number(weight) and weight >= 0 for weight in weights)
        and sum(weights) > 0
    )
    if not isinstance(weights, list) or not is_fitting:
        raise place.at("weights").wrong(f"expected {len(options)} numbers, not all of them 0")
    known: list[float] = weights
    return lambda rng: make.choice(rng, options, known)


def _replay(node: Mapping[str, Any], place: _Place) -> Begin:
    keys = ("$replay", "column", "offset")
    for key in node:
        if key not in keys:
            listed = ", ".join(keys)
            raise place.at(key).wrong(f"unknown key; expected one of {listed}{nearest(key, keys)}")
    for key in ("$replay", "column"):
        if not isinstance(node.get(key), str):
            raise place.at(key).wrong(f"is {_shown(node.get(key))}; expected text")
    offset = node.get("offset", 0)
    if offset != "random" and (type(offset) is not int or offset < 0):
        raise place.at("offset").wrong(f"is {_shown(offset)}; expected a row number or 'random'")
    try:
        rows = make.read_rows(place.folder / node["$replay"], node["column"])
    except ValueError as error:
        raise place.at("$replay").wrong(str(error)) from None
    return lambda rng: make.replay(rng, rows, None if offset == "random" else offset)


_GENERATORS: Final[Mapping[str, Callable[[Any, _Place], Begin]]] = MappingProxyType(
    {
        "$walk": _walk,
        "$sine": _sine,
        "$uniform": _uniform,
        "$gauss": _gauss,
        "$choice": _choice,
        "$counter": _counter,
        "$replay": _replay,
    }
)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]  # it is one


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}…"  # noqa: PLR2004  # fits on the line
