"""The generators of a payload template: endless iterators that draw from a stream.

Each value depends on the seed and on how many came before it, never on the clock.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from fleet_lab.devices.generators import Stream

ROWS_MAX: Final = 1_000_000
"""Rows of a replayed file: they are held in memory, once per process."""


def walk(
    rng: Stream, start: float, step: float, low: float, high: float, digits: int
) -> Iterator[float]:
    """A random walk: each value is at most `step` from the last and stays within the limits."""
    value = start
    while True:
        yield round(value, digits)
        value = min(max(value + rng.uniform(-step, step), low), high)


def sine(
    rng: Stream, mean: float, amplitude: float, period: float, phase: float, digits: int
) -> Iterator[float]:
    """A wave; `period` is a number of statuses, `phase` a share of it."""
    del rng
    number = 0
    while True:
        turn = math.tau * ((number % period) / period + phase)
        yield round(mean + amplitude * math.sin(turn), digits)
        number += 1


def uniform(rng: Stream, low: float, high: float, digits: int) -> Iterator[float]:
    """Any number between two, independent of the last."""
    while True:
        yield round(rng.uniform(low, high), digits)


def gauss(rng: Stream, mean: float, deviation: float, digits: int) -> Iterator[float]:
    """Normally distributed, independent of the last."""
    while True:
        yield round(rng.gauss(mean, deviation), digits)


def choice(rng: Stream, options: Sequence[Any], weights: Sequence[float]) -> Iterator[Any]:
    """One of several, each with its weight."""
    sums = list(accumulate(weights))
    while True:
        mark = rng.random() * sums[-1]
        yield next((o for o, limit in zip(options, sums, strict=True) if mark < limit), options[-1])


def counter(rng: Stream, start: int, step: int, wrap: int) -> Iterator[int]:
    """start, start + step, …; back to start before it reaches `wrap` (0: never)."""
    del rng
    value = start
    while True:
        yield value
        value += step
        if wrap and value >= wrap:
            value = start


def replay(rng: Stream, rows: Sequence[Any], offset: int | None) -> Iterator[Any]:
    """The recorded values again and again, from `offset`; None: from anywhere."""
    at = rng.below(len(rows)) if offset is None else offset % len(rows)
    while True:
        yield rows[at]
        at = (at + 1) % len(rows)


def read_rows(path: Path, column: str) -> list[Any]:
    """One column of a CSV file with a header, or one key of a file of JSON lines.

    Raises:
        ValueError: the text says what is wrong with the file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                reader = csv.DictReader(file)
                rows = [_cell(row, column) for row in reader]
            else:
                rows = [_key(json.loads(line), column) for line in file if line.strip()]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no CSV file or file of JSON lines: {error}") from None
    except KeyError as error:
        known = ", ".join(error.args[1])
        raise ValueError(f"{path} has no column {column!r}; it has {known}") from None
    if not 0 < len(rows) <= ROWS_MAX:
        raise ValueError(f"{path} has {len(rows)} rows; expected 1 to {ROWS_MAX}")
    return rows


def _cell(row: Mapping[str | None, Any], column: str) -> object:
    if column not in row:
        raise KeyError(column, [name for name in row if name])
    return _value(row[column] or "")


def _key(entry: object, key: str) -> object:
    if not isinstance(entry, dict) or key not in entry:
        raise KeyError(key, list(entry) if isinstance(entry, dict) else [])
    return entry[key]


def _value(text: str) -> object:
    """A number or true, false, null where the text is one; else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, bool | int | float) else text
