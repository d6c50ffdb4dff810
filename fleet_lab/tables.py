"""Reads the tables of a file and collects everything that is wrong with them.

Every problem names the key, the value, what was expected and the nearest spelling; all of them
are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fleet_lab.durations import parse_duration_s
from fleet_lab.errors import LabError, nearest

T = TypeVar("T")
_SHOWN_CHARS = 60


class Table:
    """One table of a file; a key that nobody asked for is a problem when `close` is called.

    Args:
        place: where it is in the file: `fleet[0]`, or "" for the whole.
        problems: gets one line per problem, shared by all tables of a file.
    """

    def __init__(self, values: object, place: str, problems: list[str]) -> None:
        self.place = place
        self.problems = problems
        self._asked: list[str] = []
        self._values: dict[str, Any] = {}
        if isinstance(values, Mapping):
            self._values = {str(key): value for key, value in values.items()}
        else:
            self.problem(None, f"{shown(values)} is no table; write keys and values")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def problem(self, key: str | None, text: str) -> None:
        """Write down what is wrong."""
        place = ".".join(part for part in (self.place, key) if part)
        self.problems.append(f"{place}: {text}" if place else text)

    def any(self, key: str) -> Any:  # noqa: ANN401  # whatever the file holds
        """The value or None."""
        self._asked.append(key)
        return self._values.get(key)

    def made(self, key: str, make: Callable[[Any], T]) -> T | None:
        """What `make` makes of the value; its LabError is a problem of this key."""
        value = self.any(key)
        if value is None:
            return None
        try:
            return make(value)
        except LabError as error:
            self.problem(key, str(error))
            return None

    def text(self, key: str, *, is_required: bool = False) -> str | None:
        """A text that is not empty."""
        value = self.any(key)
        if value is None and is_required:
            self.problem(key, f"is missing{self._misspelled(key)}")
        if isinstance(value, str) and value:
            return value
        if value is not None:
            self.problem(key, f"expected a text, got {shown(value)}")
        return None

    def whole(self, key: str, low: int, high: int, *, is_required: bool = False) -> int | None:
        """A whole number from `low` to `high`."""
        value = self.any(key)
        if value is None:
            if is_required:
                self.problem(key, f"is missing{self._misspelled(key)}")
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.problem(key, f"expected a whole number from {low} to {high}, got {shown(value)}")
            return None
        return value

    def duration_s(self, key: str) -> float | None:
        """Seconds of `10s`; `0s` is allowed."""
        value = self.any(key)
        if value is None:
            return None
        if value in ("0", "0s", "0ms"):
            return 0.0
        if isinstance(value, str):
            try:
                return parse_duration_s(value)
            except ValueError as error:
                self.problem(key, str(error))
                return None
        self.problem(key, f'expected a duration such as "10s", got {shown(value)}')
        return None

    def share(self, key: str) -> float | None:
        """More than 0, at most 1."""
        value = self.any(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        self.problem(key, f"expected a number above 0 and up to 1, got {shown(value)}")
        return None

    def flag(self, key: str) -> bool:
        """True or false; false when it is not there."""
        value = self.any(key)
        if value is not None and not isinstance(value, bool):
            self.problem(key, f"expected true or false, got {shown(value)}")
        return value is True

    def one_of(self, key: str, known: Sequence[str], *, is_required: bool = False) -> str | None:
        """One of these words."""
        value = self.text(key, is_required=is_required)
        if value is None or value in known:
            return value
        self.problem(key, f"{shown(value)} is none of {', '.join(known)}{nearest(value, known)}")
        return None

    def table(self, key: str) -> Mapping[str, Any]:
        """A table as it is; empty when it is not there."""
        value = self.any(key)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return {str(name): inner for name, inner in value.items()}
        self.problem(key, f"expected a table, got {shown(value)}")
        return {}

    def rows(self, key: str) -> list[Table]:
        """A list of tables (`[[key]]` in TOML)."""
        value = self.any(key)
        if value is None:
            return []
        if isinstance(value, Mapping) or not isinstance(value, list):
            self.problem(key, f"expected a list of tables: write [[{key}]]")
            return []
        return [Table(row, f"{key}[{index}]", self.problems) for index, row in enumerate(value)]

    def close(self) -> None:
        """Every key that nobody asked for is a problem."""
        known = list(dict.fromkeys(self._asked))
        for key in self._values:
            if key not in known:
                near = nearest(key, known) or f"; there are {', '.join(known)}"
                self.problem(key, f"unknown key{near}")

    def _misspelled(self, key: str) -> str:
        near = nearest(key, [name for name in self._values if name not in self._asked])
        return f" (is it {near.split(chr(39))[1]!r}?)" if near else ""


def shown(value: object) -> str:
    """A value of a file in a short line."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
