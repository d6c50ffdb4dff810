"""Which entries of the buffer a command means, and how that is written on a command line. Pure."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from module_gateway.modules.catalog import MAX_NUMBER
from module_gateway.protocol.identity import Identity

_UNITS_S: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,9})(s|min|h|d|w)", re.ASCII)
_MAX_DEVICE_TYPE: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice of entries; what is not given chooses nothing away.

    Attributes:
        modules: only these modules, all when empty.
        devices: only these identities, all when empty.
        since_unix_ms: only entries of this time or later.
        before_unix_ms: only entries of an earlier time.
    """

    modules: frozenset[int] = field(default_factory=frozenset)
    devices: frozenset[Identity] = field(default_factory=frozenset)
    since_unix_ms: int | None = None
    before_unix_ms: int | None = None

    @property
    def is_timed(self) -> bool:
        """Whether it takes a look at each entry to know."""
        return self.since_unix_ms is not None or self.before_unix_ms is not None

    def has_device(self, identity: Identity) -> bool:
        """Whether entries of this identity may be among them."""
        if self.modules and identity.module not in self.modules:
            return False
        return not self.devices or identity in self.devices

    def has_time(self, time_unix_ms: int) -> bool:
        """Whether an entry of this time is among them, as far as time goes."""
        if self.since_unix_ms is not None and time_unix_ms < self.since_unix_ms:
            return False
        return self.before_unix_ms is None or time_unix_ms < self.before_unix_ms


def module_number(text: str) -> int:
    """`1000` from the command line."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a module number; expected 1 and up")
    return int(text)


def identity(text: str) -> Identity:
    """`1000/0/left_button` from the command line: module, device type and role."""
    module, _, rest = text.partition("/")
    device_type, slash, role = rest.partition("/")
    is_number = device_type.isascii() and device_type.isdigit()
    if not slash or not is_number or int(device_type) > _MAX_DEVICE_TYPE:
        expected = "expected MODULE/TYPE/ROLE, such as 1000/0/left_button"
        raise argparse.ArgumentTypeError(f"{text!r} is no device; {expected}")
    return Identity(module_number(module), int(device_type), role)


def instant(now_unix_ms: int) -> Callable[[str], int]:
    """Reads `2h` (two hours before now) or `2026-11-20T17:00:00Z` as Unix milliseconds.

    A time without an offset is meant as UTC, as all times of an export are.
    """

    def time(text: str) -> int:
        duration = _DURATION.fullmatch(text)
        if duration is not None:
            return now_unix_ms - int(duration[1]) * _UNITS_S[duration[2]] * 1000
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            units = ", ".join(_UNITS_S)
            expected = f"expected a number with a unit ({units}) or YYYY-MM-DDTHH:MM:SSZ"
            raise argparse.ArgumentTypeError(f"{text!r} is no time; {expected}") from None
        zoned = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        return round(zoned.timestamp() * 1000)

    return time
