"""Loads as text, tables and lists: what a fleet file holds and what goes to a worker process."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

from fleet_lab.errors import EXIT_CONFIG, LabError
from fleet_lab.load import Load


def _poisson(rate: object, lasting: Any = None) -> Load:  # noqa: ANN401  # checked by Load
    if isinstance(rate, int | float | str):
        return Load.poisson(rate, lasting)
    return Load.poisson(parse_load(rate))


def _then(loads: object) -> Load:
    return reduce(Load.then, _all(loads))


def _sum(loads: object) -> Load:
    return reduce(Load.__add__, _all(loads))


SHAPES: Final[Mapping[str, Callable[..., Load]]] = {
    "constant": Load.constant,
    "ramp": Load.ramp,
    "steps": Load.steps,
    "wave": Load.wave,
    "bursts": Load.bursts,
    "poisson": _poisson,
    "spike": Load.spike,
    "trace": Load.trace,
    "custom": Load.custom,
    "closed": Load.closed,
    "then": _then,
    "sum": _sum,
}
"""What `shape` may be; the other keys of the table are the parameters of that shape."""


def parse_load(value: object) -> Load:
    """Make a load of `"500/s"`, `"closed"`, `{shape = "wave", …}` or a list that is a chain.

    Raises:
        LabError: an unknown shape or parameter (it names the nearest) or a wrong value.
    """
    match value:
        case Load():
            return value
        case "closed":
            return Load.closed()
        case str() | int() | float():
            return Load.constant(value)
        case {"shape": str(shape), **parameters}:
            return _made(shape, parameters)
        case list() | tuple():
            return _then(value)
    raise LabError(
        f"{value!r} is no load; write for example 1/s each, or a table with a shape", EXIT_CONFIG
    )


def _made(shape: str, parameters: Mapping[Any, Any]) -> Load:
    if shape not in SHAPES:
        raise LabError(f"there is no load shape {shape!r}{_nearest(shape, SHAPES)}", EXIT_CONFIG)
    make = SHAPES[shape]
    known = inspect.signature(make).parameters
    given = {str(key).replace("-", "_"): value for key, value in parameters.items()}
    for name in given:
        if name not in known:
            raise LabError(f"load {shape}: no {name!r}{_nearest(name, known)}", EXIT_CONFIG)
    missing = [n for n, p in known.items() if p.default is p.empty and n not in given]
    if missing:
        raise LabError(f"load {shape}: {', '.join(missing)} missing", EXIT_CONFIG)
    try:
        return make(**given)
    except (TypeError, ValueError, AttributeError) as error:
        raise LabError(f"load {shape}: a wrong value: {error}", EXIT_CONFIG) from error


def _all(loads: object) -> list[Load]:
    if not isinstance(loads, Sequence) or isinstance(loads, str) or not loads:
        raise LabError(f"{loads!r} is no list of loads", EXIT_CONFIG)
    return [parse_load(load) for load in loads]


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
