"""`module-gateway buffer stat`: how much waits, since when, for how long there is room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from module_gateway.module_handler.buffer.figures import (
    DeviceFigures,
    by_device,
    by_module,
    fullness,
    growth,
    size_words,
    sums,
    words_of,
)
from module_gateway.module_handler.buffer.place import Place
from module_gateway.module_handler.buffer.surroundings import SetAside, file_sizes, set_aside
from module_gateway.module_handler.buffer.view import open_view
from module_gateway.runtime.log import clean_text


def report(place: Place, now_unix_ms: int, *, has_devices: bool) -> dict[str, Any]:
    """Everything that `stat` says, as JSON has it.

    Raises:
        StoreError: the store cannot be read, or is damaged.
        ConfigError: a newer gateway wrote it.
    """
    devices: list[DeviceFigures] = []
    exists = place.store.exists()
    if exists:
        with open_view(place.store) as view:
            devices = view.figures(now_unix_ms)
    bounds = place.bounds
    found: dict[str, Any] = {
        "store": str(place.store),
        "exists": exists,
        "durability": place.settings.module_handler_settings.durability,
        "handler_pid": place.handler_pid(),
        "devices_waiting": len(devices),
        **sums(devices, now_unix_ms),
        "growth": asdict(growth(devices, bounds, now_unix_ms)),
        "bounds": fullness(devices, bounds),
        "modules": by_module(devices, place.modules, now_unix_ms),
        "files": file_sizes(place.store),
        "set_aside": [_set_aside(each) for each in set_aside(place.store)],
    }
    if has_devices:
        found["devices"] = by_device(devices, now_unix_ms)
    return found


def _set_aside(each: SetAside) -> dict[str, Any]:
    findings = each.report.get("findings", ())
    more = each.report.get("more_findings", 0)
    return {
        "folder": str(each.path),
        "bytes": each.size_bytes,
        "reason": each.report.get("reason"),
        "findings": len(findings) + more,
        "kept": each.report.get("kept"),
    }


def text(found: dict[str, Any]) -> str:
    """The report as a person reads it."""
    lines = [f"{name:<10}{said}" for name, said in _lines(found)]
    if found["modules"]:
        heads = ("module", "devices", "entries", "size", "oldest")
        modules = (
            (_module(each), f"{each['devices']:,}", *_sums(each)) for each in found["modules"]
        )
        lines += ["", *_table(heads, modules)]
    if found.get("devices"):
        devices = ((clean_text(each["device"]), *_sums(each)) for each in found["devices"])
        lines += ["", *_table(("device", "entries", "size", "oldest"), devices)]
    return "\n".join(lines) + "\n"


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    pid = found["handler_pid"]
    is_open = "no handler has it open" if pid is None else f"open in process {pid or '?'}"
    if not found["exists"]:
        is_open = "there is none yet"
    yield "store", f"{found['store']}, {is_open}, durability {found['durability']}"
    if found["durability"] == "memory":
        yield "", "with durability memory a handler keeps its buffer in memory, not here"
    waiting = f"{found['entries']:,} entries of {found['devices_waiting']:,} devices"
    if found["entries"]:
        oldest = words_of(found["oldest_age_s"])
        waiting += f", {size_words(found['bytes'])}, the oldest for {oldest}"
    yield "waiting", waiting
    yield "growth", _growth(found["growth"])
    yield "bounds", _bounds(found["bounds"])
    files = [f"{name} {size_words(size)}" for name, size in found["files"].items()]
    yield "files", ", ".join(files) or "none"
    yield "set aside", f"{len(found['set_aside'])} folders" if found["set_aside"] else "nothing"
    for each in found["set_aside"]:
        reason = clean_text(each["reason"] or "no report")
        found_there = f", {each['findings']:,} findings" if each["findings"] else ""
        name = clean_text(Path(each["folder"]).name)
        yield "", f"{name}, {size_words(each['bytes'])}: {reason}{found_there}"


def _growth(growing: dict[str, Any]) -> str:
    if growing["hours_left"] is None:
        return str(growing["why"])
    left = words_of(growing["hours_left"] * 3600)
    rate = f"{growing['entries_per_s']:,.1f} entries/s, {size_words(growing['bytes_per_s'])}/s"
    return f"{rate}; {left} left until the oldest are folded ({growing['why']})"


def _bounds(bounds: dict[str, Any]) -> str:
    said = f"{bounds['total_full']:.1%} of {size_words(bounds['total_bytes'])}"
    if bounds["fullest_device"] is not None:
        each = f"{bounds['device_entries']:,} entries or {size_words(bounds['device_bytes'])}"
        fullest = clean_text(bounds["fullest_device"])
        said += f"; {fullest} has {bounds['device_full']:.1%} of its {each}"
    return f"{said}; entries older than {words_of(bounds['age_s'])} are folded"


def _module(each: dict[str, Any]) -> str:
    name = clean_text(each["name"]) if each["is_configured"] else "(not configured)"
    return f"{each['module']} {name}"


def _sums(each: dict[str, Any]) -> tuple[str, str, str]:
    return f"{each['entries']:,}", size_words(each["bytes"]), words_of(each["oldest_age_s"])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    table = [heads, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(heads))]
    return [
        "  ".join(
            text.rjust(width) if at else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
