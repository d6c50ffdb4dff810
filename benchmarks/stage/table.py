"""The table that people read, made of the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.stage.results import Results, markdown

DEVICES: Final = (1, 10, 100, 500)
SAME_PER_S: Final = {1: 5_000, 10: 20_000, 100: 33_000, 500: 33_000}
SAME_P99_US: Final = {1: 500, 100: 6_000, 500: 30_000}
FORWARDED_PER_S: Final = {10: 10_000, 100: 10_000, 500: 10_000}
SAME_CPU_S: Final = {100: 0.45}
DIFFERENT_CPU_S: Final = {100: 1.5}
"""What we want to reach on two cores, of which the generator has a part."""

RETURNING: Final = {
    "control plane": "our control plane returns, first status",
    "broker": "our control plane and its broker return, first status",
}
"""By what was lost."""

HEADER: Final = ("line", "devices", "to reach", "measured", "of the empty gateway", "rounds")
Row = tuple[object, ...]


def table(results: Results) -> Iterator[str]:
    """Lines of Markdown."""
    name = next((n for line in results.lines.values() for n in line if n != "empty"), "ours")
    machine = results.machine
    syncs = f"{machine['fdatasync_p50_ms']:.2f} ms, p99 {machine['fdatasync_p99_ms']:.1f} ms"
    yield (
        f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), Python "
        f"{machine['python']}, Mosquitto {machine['mosquitto']}, Linux {machine['kernel']}; "
        f"fdatasync {syncs}; "
        f"generator, empty gateway and control plane: {results.tools}."
    )
    yield ""
    rows = [*_closed_rows(results, name), *_other_rows(results, name)]
    yield from markdown(HEADER, rows)


def _closed_rows(results: Results, name: str) -> Iterator[Row]:
    for devices in _devices_of(results, "same"):
        line = f"same/{devices}"
        yield _rate(results, name, line, "per_s", "unchanged, per second", SAME_PER_S)
        yield _latency(results, name, line, "unchanged, p50 / p99", SAME_P99_US)
        yield _cpu(results, name, line, "unchanged, CPU s per 10,000", SAME_CPU_S)
    for devices in _devices_of(results, "different"):
        line = f"different/{devices}"
        if any("forwarded_per_s" in each for each in results.rounds(line, name)):
            words = "different, per second at the control plane"
            yield _rate(results, name, line, "forwarded_per_s", words, FORWARDED_PER_S)
        yield _rate(results, name, line, "per_s", "different, answered per second", {})
        yield _latency(results, name, line, "different, p50 / p99", {})
        yield _cpu(results, name, line, "different, CPU s per 10,000", DIFFERENT_CPU_S)


def _devices_of(results: Results, kind: str) -> Sequence[int]:
    return sorted(int(line.split("/")[1]) for line in results.lines if line.startswith(f"{kind}/"))


def _spread(results: Results, line: str, name: str, figure: str, scale: float = 1.0) -> str:
    values = sorted(each[figure] * scale for each in results.rounds(line, name) if figure in each)
    digits = 0 if values[-1] >= 100 else 2  # noqa: PLR2004
    middle = values[len(values) // 2]
    return f"**{middle:,.{digits}f}** ({values[0]:,.{digits}f} to {values[-1]:,.{digits}f})"


def _rate(
    results: Results, name: str, line: str, figure: str, words: str, goals: dict[int, int]
) -> Row:
    devices = int(line.split("/")[1])
    rounds, empty = results.rounds(line, name), results.rounds(line, "empty")
    parts = sorted(mine[figure] / one["per_s"] for mine, one in zip(rounds, empty, strict=False))
    share = f"{parts[len(parts) // 2]:.2f}" if parts else ""
    goal = f"{goals[devices]:,}" if devices in goals else ""
    return (words, devices, goal, _spread(results, line, name, figure), share, len(rounds))


def _latency(results: Results, name: str, line: str, words: str, goals: dict[int, int]) -> Row:
    devices = int(line.split("/")[1])
    mine, empty = results.median(line, name), results.median(line, "empty")
    assert mine is not None
    measured = f"{_time(mine['p50_us'])} / **{_time(mine['p99_us'])}**"
    beside = f"{_time(empty['p50_us'])} / {_time(empty['p99_us'])}" if empty else ""
    goal = f"p99 {_time(goals[devices])}" if devices in goals else ""
    return (words, devices, goal, measured, beside, len(results.rounds(line, name)))


def _time(microseconds: float) -> str:
    ms = 1000.0
    return f"{microseconds:.0f} µs" if microseconds < ms else f"{microseconds / ms:.1f} ms"


def _cpu(results: Results, name: str, line: str, words: str, goals: dict[int, float]) -> Row:
    devices = int(line.split("/")[1])
    share = results.share(line, "cpu_us", name)
    return (
        words,
        devices,
        goals.get(devices, ""),
        _spread(results, line, name, "cpu_us", 1e4 / 1e6),
        f"{share:.1f} x" if share else "",
        len(results.rounds(line, name)),
    )


def _other_rows(results: Results, name: str) -> Iterator[Row]:
    if rounds := results.rounds("recovery", name):
        measured = _spread(results, "recovery", name, "first_status_ms") + " ms"
        words = "a plain control plane and its broker return, first status"
        yield (words, 10, "", measured, "", len(rounds))
    for kind, words in RETURNING.items():
        if rounds := results.rounds(f"returning/{kind}", name):
            measured = _spread(results, f"returning/{kind}", name, "first_status_ms") + " ms"
            yield (words, 10, "500 ms", measured, "", len(rounds))
    if rounds := results.rounds("leaving", name):
        after = _spread(results, "leaving", name, "after_ms") + " ms"
        before = _spread(results, "leaving", name, "before_ms")
        words = "one device leaves, longest pause of the others (before it left)"
        yield (words, 10, "no longer", f"{after}; ({before} ms)", "", len(rounds))
    for devices in _devices_of(results, "rubbish"):
        line = f"rubbish/{devices}"
        measured = _spread(results, line, name, "ratio") + " x"
        empty = _spread(results, line, "empty", "ratio") + " x"
        words = "two that send rubbish, p99 of the healthy"
        yield (words, devices, "1.5 x", measured, empty, len(results.rounds(line, name)))
    if (memory := results.median("memory/500", name)) is not None:
        sizes = " / ".join(
            f"{memory[f'{when}_rss_mib']:.0f}" for when in ("in_session", "in_outage", "after")
        )
        shares = " / ".join(
            f"{memory[f'{when}_pss_mib']:.0f}" for when in ("in_session", "in_outage", "after")
        )
        words = f"memory in session / {memory['outage_s']:.0f} s into an outage / after it"
        yield (words, 500, "200 MiB", f"**{sizes}** MiB resident, {shares} without double", "", 1)
