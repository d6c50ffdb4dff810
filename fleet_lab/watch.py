"""The live view: what fleets do right now, as a table in a terminal or as lines in a log."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, TextIO

from fleet_lab.errors import missing_extra
from fleet_lab.report.scales import show_count, show_latency

if TYPE_CHECKING:
    from rich.table import Table

HISTORY: Final = 14
"""Columns of the small curve beside each fleet."""
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class FleetView:
    """One fleet at one moment: totals since its start, latencies of the last seconds.

    Attributes:
        states: how many devices are in which state ("connected", "connecting", "stopped" …).
    """

    name: str
    devices: int
    states: Mapping[str, int] = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    closes: int = 0
    refusals: int = 0
    errors: int = 0
    restarts: int = 0
    workers: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    lag_p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A fleet with its rates since the look before; None at the first look."""

    view: FleetView
    sent_per_s: float | None
    answered_per_s: float | None
    history: tuple[float, ...]

    @property
    def connected(self) -> int:
        """Devices that can send."""
        return self.view.states.get("connected", 0)


Look = Callable[[], Awaitable[Sequence[FleetView]]]


class Rates:
    """Makes rates of totals. Counters that went back (a fleet started again) give no rate."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, FleetView]] = {}
        self._history: dict[str, deque[float]] = {}

    def update(self, views: Sequence[FleetView], now: float) -> list[Row]:
        """`now` in monotonic seconds."""
        self._before = {v.name: self._before[v.name] for v in views if v.name in self._before}
        rows = [self._row(view, now) for view in views]
        self._before = {view.name: (now, view) for view in views}
        self._history = {view.name: self._history[view.name] for view in views}
        return rows

    def _row(self, view: FleetView, now: float) -> Row:
        history = self._history.setdefault(view.name, deque(maxlen=HISTORY))
        at, before = self._before.get(view.name, (now, view))
        sent, answered = view.sent - before.sent, view.answered - before.answered
        if now <= at or sent < 0 or answered < 0:
            return Row(view, None, None, tuple(history))
        elapsed_s = now - at
        history.append(answered / elapsed_s)
        return Row(view, sent / elapsed_s, answered / elapsed_s, tuple(history))


def sparkline(values: Sequence[float]) -> str:
    """A curve of block characters from zero to its highest value."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return _BLOCKS[0] * len(values)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(max(value, 0.0) / highest * top)] for value in values)


def progress_line(rows: Sequence[Row], elapsed_s: float) -> str:
    """One line for a log."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    parts = [
        f"{row.view.name}: {row.connected}/{row.view.devices} connected, "
        f"{_rate(row.sent_per_s)} sent, {_rate(row.answered_per_s)} answered, "
        f"p50 {show_latency(row.view.p50_s)}, p99 {show_latency(row.view.p99_s)}"
        + _troubles(row.view)
        for row in rows
    ]
    return f"{minutes:02d}:{seconds:02d} " + ("; ".join(parts) or "no devices")


def json_line(rows: Sequence[Row], elapsed_s: float) -> str:
    """One object per look, for scripts."""
    fleets = [
        {**asdict(r.view), "sent_per_s": r.sent_per_s, "answered_per_s": r.answered_per_s}
        for r in rows
    ]
    return json.dumps({"elapsed_s": round(elapsed_s, 3), "fleets": fleets})


def draw(rows: Sequence[Row], elapsed_s: float) -> Table:
    """The same as a table for a terminal.

    Raises:
        LabError: Rich is not installed.
    """
    try:
        from rich.box import SIMPLE  # noqa: PLC0415  # an extra
        from rich.table import Table  # noqa: PLC0415  # an extra
        from rich.text import Text  # noqa: PLC0415  # as above
    except ModuleNotFoundError as missing:
        raise missing_extra("rich", "lab", "the live view") from missing
    title = progress_line((), elapsed_s).split(" ", 1)[0]
    table = Table(title=f"fleet-lab {title}", box=SIMPLE, expand=True)
    for heading in ("fleet", "states"):
        table.add_column(heading, overflow="fold")
    table.add_column("answered/s", no_wrap=True)  # the small curve has a fixed width
    for heading in ("answered", "p50", "p99", "lag"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        view = row.view
        states = Text(_states(view)).append(_troubles(view), style="bold red")
        table.add_row(
            Text(view.name),
            states,
            Text(f"{_rate(row.answered_per_s)} {sparkline(row.history)}"),
            show_count(view.answered),
            show_latency(view.p50_s),
            show_latency(view.p99_s),
            show_latency(view.lag_p99_s),
        )
    return table


async def watch(
    look: Look,
    out: TextIO,
    *,
    period_s: float = 1.0,
    is_json: bool = False,
    is_live: bool | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Show fleets until `stop` is set, `look` raises, or the task is cancelled.

    With `is_live` None it draws a table over and over when `out` is a terminal; lines otherwise.
    """
    loop = asyncio.get_running_loop()
    began, rates = loop.time(), Rates()
    stopping = stop if stop is not None else asyncio.Event()
    show = _screen(out) if _may_draw(out, is_live, is_json=is_json) else _Lines(out, is_json)
    with show:
        while True:
            rows = rates.update(await look(), loop.time())
            show.rows(rows, loop.time() - began)
            try:
                async with asyncio.timeout(period_s):
                    await stopping.wait()
            except TimeoutError:
                continue
            return


class _Lines:
    """One line per look."""

    def __init__(self, out: TextIO, is_json: bool) -> None:  # noqa: FBT001  # private
        self._out = out
        self._line = json_line if is_json else progress_line

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def rows(self, rows: Sequence[Row], elapsed_s: float) -> None:
        self._out.write(self._line(rows, elapsed_s) + "\n")
        self._out.flush()


class _Screen:
    """A table that is drawn over itself."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415  # an extra; `_screen` says so
        from rich.live import Live  # noqa: PLC0415  # as above

        self._live = Live(console=Console(file=out), auto_refresh=False)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def rows(self, rows: Sequence[Row], elapsed_s: float) -> None:
        self._live.update(draw(rows, elapsed_s), refresh=True)


def _screen(out: TextIO) -> _Screen:
    try:
        return _Screen(out)
    except ModuleNotFoundError as missing:
        raise missing_extra("rich", "lab", "the live view") from missing


def _may_draw(out: TextIO, is_live: bool | None, *, is_json: bool) -> bool:  # noqa: FBT001  # three-valued
    if is_json:
        return False
    return out.isatty() if is_live is None else is_live


def _rate(per_s: float | None) -> str:
    return "–/s" if per_s is None else f"{show_count(round(per_s, 1))}/s"  # noqa: RUF001  # not measured


def _states(view: FleetView) -> str:
    shown = [f"{number} {state}" for state, number in view.states.items() if number]
    return ", ".join(shown) or f"{view.devices} devices"


def _troubles(view: FleetView) -> str:
    named = {
        "closes": view.closes, "refusals": view.refusals,
        "errors": view.errors, "restarts": view.restarts,
    }  # fmt: skip
    return "".join(f", {number} {name}" for name, number in named.items() if number)
