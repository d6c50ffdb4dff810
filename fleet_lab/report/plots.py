"""The plots of the report as inline SVG: no script, no font and no file from anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from fleet_lab.report import ribbon
from fleet_lab.report.columns import Column, log_bins
from fleet_lab.report.model import Distribution, Span
from fleet_lab.report.scales import (
    Linear,
    Log,
    count_ticks,
    decades,
    show_count,
    show_latency,
    show_time,
    time_ticks,
)
from fleet_lab.report.svg import hint, path, tag, text

WIDTH: Final = 920
LEFT: Final = 64
RIGHT: Final = 10
TOP: Final = 10
PLOT: Final = 190
AXIS: Final = 22
COLOURS: Final = 4
LATE_S: Final = 0.25
"""The device session's own limit (fleet-protocol 2.6): later than this is "late"."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a time plot. `colour` holds one of the style sheet's classes c1 to c4.

    With `under` beside it the line is broad, so that one of the same values does not hide it.
    """

    name: str
    colour: str
    value: Callable[[Column], float | None]


THROUGHPUT: Final = (
    Curve("sent", "c1 under", lambda c: c.sent),
    Curve("answered", "c2", lambda c: c.answered),
    Curve("seen upstream", "c3", lambda c: c.upstream),
)
LATENCY: Final = (Curve("p50", "c1", lambda c: c.p50_s), Curve("p99", "c3", lambda c: c.p99_s))
CONNECTED: Final = (Curve("connected devices", "c1", lambda c: c.connected),)


def over_time(
    title: str,
    shown: Sequence[Column],
    curves: Sequence[Curve],
    spans: Sequence[Span],
    duration_s: float,
    *,
    is_latency: bool = False,
) -> Markup:
    """Curves over the run's time, the ribbon of the scenario under it.

    Rates and counts start at zero; latencies are on a logarithmic axis with a line at 250 ms.
    """
    x = Linear(0.0, max(duration_s, 1e-3), LEFT, WIDTH - RIGHT)
    bottom = TOP + PLOT
    values = [v for c in shown for curve in curves if (v := curve.value(c)) is not None]
    y, ticks = _y_scale(values, bottom, is_latency=is_latency)
    show = show_latency if is_latency else show_count
    height = bottom + AXIS + ribbon.height_px(spans, x) + 4
    parts = [
        ribbon.bands(spans, x, TOP, bottom),
        _y_axis([(y.at(tick), show(tick)) for tick in ticks]),
        _x_axis([(x.at(tick), show_time(tick)) for tick in time_ticks(duration_s)], bottom),
    ]
    if is_latency and values and max(values) >= LATE_S:
        parts.append(_limit(y.at(LATE_S)))
    parts += [path(_points(shown, curve, x, y), f"curve {curve.colour}") for curve in curves]
    parts.append(_hints(shown, curves, x, bottom, show))
    parts.append(ribbon.bars(spans, x, bottom + AXIS + 4))
    return _figure(title, height, parts)


def distributions(title: str, shown: Sequence[Distribution]) -> Markup:
    """Shares of latencies over a logarithmic x axis, one outline per distribution."""
    binned = [(each, log_bins(each)) for each in shown]
    edges = [edge for _, bins in binned for low, high, _ in bins for edge in (low, high)]
    bottom = TOP + PLOT
    ticks = decades(edges)
    x = Log(ticks[0], ticks[-1], LEFT, WIDTH - RIGHT)
    highest = max((share for _, bins in binned for *_, share in bins), default=0.0)
    shares = count_ticks(highest * 100)
    y = Linear(0.0, shares[-1], bottom, TOP)
    parts = [
        _y_axis([(y.at(share), f"{share:g} %") for share in shares]),
        _x_axis([(x.at(tick), show_latency(tick)) for tick in ticks], bottom),
    ]
    if ticks[0] < LATE_S < ticks[-1]:
        at = x.at(LATE_S)
        parts.append(tag("line", x1=at, x2=at, y1=TOP, y2=bottom, class_="limit"))
        parts.append(text(at + 4, TOP + 10, "250 ms", "tick"))
    for index, (each, bins) in enumerate(binned):
        outline: list[tuple[float, float] | None] = []
        for low, high, share in bins:
            outline += [(x.at(low), y.at(share * 100)), (x.at(high), y.at(share * 100))]
        if outline:
            first, last = x.at(bins[0][0]), x.at(bins[-1][1])
            outline = [(first, bottom), *outline, (last, bottom)]
        parts.append(path(outline, f"curve c{index % COLOURS + 1}"))
        parts.append(_bin_hints(each, bins, x, bottom))
    return _figure(title, bottom + AXIS + 4, parts)


def _y_scale(
    values: Sequence[float], bottom: float, *, is_latency: bool
) -> tuple[Linear | Log, list[float]]:
    if is_latency:
        ticks = decades(values)
        return Log(ticks[0], ticks[-1], bottom, TOP), ticks
    ticks = count_ticks(max(values, default=0.0))
    return Linear(0.0, ticks[-1], bottom, TOP), ticks


def _points(
    shown: Sequence[Column], curve: Curve, x: Linear, y: Linear | Log
) -> list[tuple[float, float] | None]:
    values = [(c, curve.value(c)) for c in shown]
    return [
        None if value is None else (x.at((c.start_s + c.end_s) / 2), y.at(value))
        for c, value in values
    ]


def _y_axis(ticks: Sequence[tuple[float, str]]) -> Markup:
    return Markup("").join(
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid")
        + text(LEFT - 8, at + 4, words, "tick", "end")
        for at, words in ticks
    )


def _x_axis(ticks: Sequence[tuple[float, str]], bottom: float) -> Markup:
    return Markup("").join(
        tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis")
        + text(at, bottom + 16, words, "tick", "middle" if at < WIDTH - RIGHT - 20 else "end")
        for at, words in ticks
    )


def _limit(at: float) -> Markup:
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="limit")
    return line + text(WIDTH - RIGHT, at - 4, "250 ms", "tick", "end")


def _hints(
    shown: Sequence[Column],
    curves: Sequence[Curve],
    x: Linear,
    bottom: float,
    show: Callable[[float | None], str],
) -> Markup:
    """An invisible strip per column that tells its numbers."""
    return Markup("").join(
        tag(
            "rect",
            hint(
                f"{show_time(c.start_s)}: "
                + ", ".join(f"{curve.name} {show(curve.value(c))}" for curve in curves)
            ),
            x=x.at(c.start_s),
            y=TOP,
            width=max(x.at(c.end_s) - x.at(c.start_s), 0.5),
            height=bottom - TOP,
            class_="hit",
        )
        for c in shown
    )


def _bin_hints(
    each: Distribution, bins: Sequence[tuple[float, float, float]], x: Log, bottom: float
) -> Markup:
    return Markup("").join(
        tag(
            "rect",
            hint(f"{each.name}: {share:.2%} from {show_latency(low)} to {show_latency(high)}"),
            x=x.at(low),
            y=TOP,
            width=x.at(high) - x.at(low),
            height=bottom - TOP,
            class_="hit",
        )
        for low, high, share in bins
    )


def _figure(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {height:.0f}", role="img", aria_label=title)
