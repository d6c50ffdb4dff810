"""What `buffer stat` says: how much waits, how old it is, how full the bounds are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from module_gateway.module_handler.buffer.lines import iso_time
from module_gateway.protocol.identity import Identity

WINDOW_S: Final = 300
"""Over so long the rate is measured: it follows a change within minutes and evens out bursts."""

SETTLED_S: Final = 30
"""Unless an entry waits for longer, it is the usual coming and going of a session (the control
plane has 30 s to acknowledge: fleet-protocol 4.5), not growth."""

_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """One identity's entries; `recent_…` are those of the last WINDOW_S."""

    identity: Identity
    entries: int
    size_bytes: int
    oldest_unix_ms: int
    newest_unix_ms: int
    recent_entries: int
    recent_bytes: int


@dataclass(frozen=True, slots=True)
class BufferBounds:
    """See `module-handler-settings.outbox-…`."""

    device_entries: int
    device_bytes: int
    total_bytes: int
    age_s: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What comes in while nothing goes out.

    Attributes:
        entries_per_s, bytes_per_s: 0 while it does not grow.
        hours_left: until the first bound is reached if nothing is delivered; None while it does
            not grow.
        why: of what the figures are true, or why there are none.
    """

    entries_per_s: float
    bytes_per_s: float
    hours_left: float | None
    why: str


def growth(devices: Sequence[DeviceFigures], bounds: BufferBounds, now_unix_ms: int) -> Growth:
    """How fast it grows, from the times of what waits, and when the first bound is reached."""
    if not devices:
        return Growth(0.0, 0.0, None, "not growing: nothing waits")
    oldest_s = (now_unix_ms - min(each.oldest_unix_ms for each in devices)) / 1000
    entries = sum(each.recent_entries for each in devices)
    if not entries:
        return Growth(0.0, 0.0, None, f"not growing: nothing came for {words_of(WINDOW_S)}")
    if oldest_s < SETTLED_S:
        return Growth(0.0, 0.0, None, f"not growing: nothing waits for longer than {SETTLED_S} s")
    span_s = min(oldest_s, WINDOW_S)
    per_s = sum(each.recent_bytes for each in devices) / span_s
    total_bytes = sum(each.size_bytes for each in devices)
    left_s = [bounds.age_s - oldest_s, _left_s(total_bytes, bounds.total_bytes, per_s)]
    for each in devices:
        rates = (each.recent_entries / span_s, each.recent_bytes / span_s)
        left_s.append(_left_s(each.entries, bounds.device_entries, rates[0]))
        left_s.append(_left_s(each.size_bytes, bounds.device_bytes, rates[1]))
    why = f"measured over the last {words_of(span_s)}, if nothing is delivered"
    return Growth(entries / span_s, per_s, max(0.0, min(left_s)) / _HOUR_S, why)


def _left_s(held: int, bound: int, per_s: float) -> float:
    return (bound - held) / per_s if per_s else float("inf")


def fullness(devices: Sequence[DeviceFigures], bounds: BufferBounds) -> dict[str, Any]:
    """The bounds, and which part of each is used: 1.0 is full, the oldest are folded then."""
    fullest = max(devices, key=lambda each: _part(each, bounds), default=None)
    return {
        "total_bytes": bounds.total_bytes,
        "total_full": round(sum(each.size_bytes for each in devices) / bounds.total_bytes, 4),
        "device_entries": bounds.device_entries,
        "device_bytes": bounds.device_bytes,
        "fullest_device": None if fullest is None else str(fullest.identity),
        "device_full": 0.0 if fullest is None else round(_part(fullest, bounds), 4),
        "age_s": bounds.age_s,
    }


def _part(each: DeviceFigures, bounds: BufferBounds) -> float:
    return max(each.entries / bounds.device_entries, each.size_bytes / bounds.device_bytes)


def by_module(
    devices: Iterable[DeviceFigures], configured: Mapping[int, str], now_unix_ms: int
) -> list[dict[str, Any]]:
    """A line for each module with entries. One that is not configured keeps its entries."""
    groups: dict[int, list[DeviceFigures]] = {}
    for each in devices:
        groups.setdefault(each.identity.module, []).append(each)
    return [
        {
            "module": module,
            "name": configured.get(module),
            "is_configured": module in configured,
            "devices": len(group),
            **sums(group, now_unix_ms),
        }
        for module, group in sorted(groups.items())
    ]


def by_device(devices: Iterable[DeviceFigures], now_unix_ms: int) -> list[dict[str, Any]]:
    """A line for each device with entries, the one with most bytes first."""
    ordered = sorted(devices, key=lambda each: (-each.size_bytes, each.identity))
    return [{"device": str(each.identity), **sums([each], now_unix_ms)} for each in ordered]


def sums(devices: Sequence[DeviceFigures], now_unix_ms: int) -> dict[str, Any]:
    """Entries, bytes and age of these devices together."""
    oldest = min((each.oldest_unix_ms for each in devices), default=None)
    return {
        "entries": sum(each.entries for each in devices),
        "bytes": sum(each.size_bytes for each in devices),
        "oldest_time": None if oldest is None else iso_time(oldest),
        "oldest_age_s": None if oldest is None else round((now_unix_ms - oldest) / 1000, 1),
    }


def words_of(span_s: float) -> str:
    """A time as people say it: two units at most, nothing smaller than a second."""
    left = round(max(0.0, span_s))
    said: list[str] = []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= seconds and len(said) < 2:  # noqa: PLR2004 - see above
            said.append(f"{left // seconds} {unit}")
        elif said:
            break
        left %= seconds
    return " ".join(said) or "0 s"


def size_words(size_bytes: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:  # noqa: PLR2004 - the step of these units
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} GiB"
