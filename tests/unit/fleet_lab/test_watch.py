from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Sequence

import pytest
from rich.console import Console

from fleet_lab.errors import LabError
from fleet_lab.watch import FleetView, Rates, draw, json_line, progress_line, sparkline, watch

CARS = FleetView("cars", 10, {"connected": 9, "connecting": 1}, sent=100, answered=90, closes=2,
                 p50_s=0.001, p99_s=0.02)  # fmt: skip


def later(sent: int, answered: int) -> FleetView:
    return FleetView("cars", 10, {"connected": 10}, sent=sent, answered=answered)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rates_are_differences_of_totals() -> None:
    rates = Rates()
    assert [r.sent_per_s for r in rates.update([CARS], 5.0)] == [None]
    (row,) = rates.update([later(120, 100)], 7.0)
    assert (row.sent_per_s, row.answered_per_s, row.history) == (10.0, 5.0, (5.0,))


def test_a_fleet_that_started_again_has_no_rate_at_first() -> None:
    rates = Rates()
    rates.update([CARS], 1.0)
    assert rates.update([later(1, 1)], 2.0)[0].sent_per_s is None
    assert rates.update([later(4, 3)], 3.0)[0].sent_per_s == 3.0


def test_fleets_come_and_go() -> None:
    rates = Rates()
    rates.update([CARS], 1.0)
    assert rates.update([], 2.0) == []
    assert rates.update([CARS], 3.0)[0].sent_per_s is None


def test_the_small_curve_goes_from_zero_to_its_highest() -> None:
    assert sparkline([0, 1, 2, 4, 7]) == "▁▂▃▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""


def test_a_line_names_states_rates_latencies_and_troubles() -> None:
    rates = Rates()
    rates.update([CARS], 0.0)
    line = progress_line(rates.update([CARS], 1.0), 65.2)
    assert line == (
        "01:05 cars: 9/10 connected, 0/s sent, 0/s answered, p50 1 ms, p99 20 ms, 2 closes"
    )
    assert progress_line([], 0) == "00:00 no devices"


def test_a_script_gets_one_object_per_look() -> None:
    found = json.loads(json_line(Rates().update([CARS], 0.0), 1.23456))
    assert found["elapsed_s"] == 1.235
    assert found["fleets"][0]["name"] == "cars"
    assert found["fleets"][0]["sent_per_s"] is None


def test_the_table_shows_what_a_peer_wrote_as_text() -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(draw(Rates().update([FleetView("[red]cars", 1)], 0.0), 3.0))
    assert "[red]cars" in console.file.getvalue()


async def looks(out: io.StringIO, views: Sequence[FleetView], **how: bool) -> None:
    stop, left = asyncio.Event(), list(views)

    async def look() -> Sequence[FleetView]:
        view = left.pop(0)
        if not left:
            stop.set()
        return [view]

    await watch(look, out, period_s=0.001, stop=stop, **how)


async def test_a_log_gets_lines_until_told_to_stop() -> None:
    out = io.StringIO()
    await looks(out, [CARS, later(120, 110)])
    assert "\N{EN DASH}/s sent" in out.getvalue().splitlines()[0]
    assert len(out.getvalue().splitlines()) == 2


async def test_a_terminal_gets_a_table_and_json_is_never_drawn() -> None:
    drawn, plain = Terminal(), Terminal()
    await looks(drawn, [CARS])
    await looks(plain, [CARS], is_json=True)
    assert "answered/s" in drawn.getvalue()
    assert json.loads(plain.getvalue())["fleets"][0]["devices"] == 10


async def test_what_goes_wrong_while_looking_ends_the_view() -> None:
    async def look() -> Sequence[FleetView]:
        raise LabError("the fleet has gone")

    with pytest.raises(LabError, match="the fleet has gone"):
        await watch(look, io.StringIO())


async def test_without_rich_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m == "rich" or m.startswith("rich.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(LabError, match=r"the live view needs rich.*\[lab\]"):
        await looks(Terminal(), [CARS])
    with pytest.raises(LabError, match=r"\[lab\]"):
        draw([], 0.0)
