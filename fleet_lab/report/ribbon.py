"""What the scenario did, drawn under a time plot and faintly behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from fleet_lab.report.model import Span
from fleet_lab.report.scales import Linear, show_time
from fleet_lab.report.svg import hint, tag, text

LANE_PX: Final = 20
_LETTER_PX: Final = 6.6
_POINT_PX: Final = 8
_KINDS: Final = ("fault", "link", "load", "step")


def lanes(spans: Sequence[Span], x: Linear) -> list[int]:
    """The lane of each span: the first one in which neither bar nor label touches another."""
    ends: list[float] = []
    chosen = []
    for span in spans:
        start, end = _label_reach(span, x)
        lane = next((i for i, taken in enumerate(ends) if taken <= start), len(ends))
        if lane == len(ends):
            ends.append(end)
        else:
            ends[lane] = end
        chosen.append(lane)
    return chosen


def height_px(spans: Sequence[Span], x: Linear) -> int:
    """What `bars` needs."""
    return LANE_PX * (max(lanes(spans, x)) + 1) + 6 if spans else 0


def bands(spans: Sequence[Span], x: Linear, top: float, bottom: float) -> Markup:
    """The same spans behind the curves, so that the eye joins them."""
    return Markup("").join(
        tag(
            "rect",
            x=x.at(span.start_s),
            y=top,
            width=max(_end(span, x) - x.at(span.start_s), 1.0),
            height=bottom - top,
            class_=f"band {_kind(span)}",
        )
        for span in spans
    )


def bars(spans: Sequence[Span], x: Linear, top: float) -> Markup:
    """One bar per span with its name beside or in it."""
    drawn = []
    for span, lane in zip(spans, lanes(spans, x), strict=True):
        y = top + lane * LANE_PX
        start, end = x.at(span.start_s), _end(span, x)
        width = max(end - start, 3.0)
        words, fits = span.name, len(span.name) * _LETTER_PX + 10 <= width
        label_x, anchor = (start + 6, "start") if fits else (start + width + 4, "start")
        if not fits and label_x + len(words) * _LETTER_PX > x.end:
            label_x, anchor = start - 4, "end"
        drawn.append(
            tag(
                "g",
                hint(f"{span.name}: {_when(span)}"),
                tag("rect", x=start, y=y, width=width, height=LANE_PX - 4, rx=3,
                    class_=f"span {_kind(span)}"),
                text(label_x, y + 12, words, "span-name inside" if fits else "span-name", anchor),
            )
        )  # fmt: skip
    return Markup("").join(drawn)


def _kind(span: Span) -> str:
    return span.kind if span.kind in _KINDS else "step"


def _end(span: Span, x: Linear) -> float:
    return x.end if span.end_s is None else x.at(span.end_s)


def _label_reach(span: Span, x: Linear) -> tuple[float, float]:
    start = x.at(span.start_s)
    width = max(_end(span, x) - start, _POINT_PX)
    label = len(span.name) * _LETTER_PX + 10
    if label <= width:
        return start, start + width + 4
    if start + width + label > x.end:
        return start - label, start + width + 4
    return start, start + width + label


def _when(span: Span) -> str:
    if span.end_s is None:
        return f"from {show_time(span.start_s)} to the end"
    if span.end_s <= span.start_s:
        return f"at {show_time(span.start_s)}"
    return f"from {show_time(round(span.start_s, 1))} to {show_time(round(span.end_s, 1))}"
