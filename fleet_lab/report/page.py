"""One self-contained HTML page about one run: opens offline, needs no script."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet_lab.report import plots
from fleet_lab.report.columns import Column, columns
from fleet_lab.report.model import FAULTS, WORDS, Hop, Run
from fleet_lab.report.scales import show_count, show_latency, show_rate

TEMPLATE: Final = "page.html.j2"
LAG_LIMIT_S: Final = 0.02
"""Issue 3: a generator whose send lag p99 is above 20 ms measures itself, not the gateway."""
_TILES: Final = (
    "sent", "answered", "lost", "duplicated", "reordered", "late", "in_doubt", "folded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the verdict with the meaning of its word."""

    word: str
    shown: str
    meaning: str
    is_bad: bool


@dataclass(frozen=True, slots=True)
class LossBar:
    """A hop with the part of everything that was lost in it, 0 to 100."""

    hop: Hop
    lost_percent: float


def render(run: Run) -> str:
    """The page. Everything that came from a run is escaped."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=show_count, latency=show_latency, rate=show_rate)
    shown = columns(run.series)
    return environment.get_template(TEMPLATE).render(
        run=run,
        verdict=verdict_words(run),
        sentence=sentence(run),
        tiles=tiles(run),
        more_words=[(w, n) for w, n in run.counts.items() if w not in _TILES],
        meanings=WORDS,
        faults=FAULTS,
        plots=time_plots(run, shown),
        distribution=plots.distributions("Latencies", run.latencies) if run.latencies else "",
        is_thinned=bool(shown) and shown[0].end_s > run.series.period_s * 1.5,
        loss_bars=loss_bars(run),
        lag_limit_s=LAG_LIMIT_S,
        colours=plots.COLOURS,
        command=shlex.join(run.command),
        started=datetime.fromtimestamp(run.started_unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def verdict_words(run: Run) -> tuple[str, str]:
    """(style class, word) of the banner: a run without checks has passed nothing."""
    if not run.checks:
        return "unjudged", "NO CHECKS"
    return ("passed", "PASSED") if run.is_passed else ("failed", "FAILED")


def sentence(run: Run) -> str:
    """The verdict in one line."""
    held = sum(check.is_passed for check in run.checks)
    devices = sum(fleet.devices for fleet in run.fleets)
    bad = [
        f"{run.counts[word]} {word.replace('_', ' ')}" for word in FAULTS if run.counts.get(word)
    ]
    parts = [f"{held} of {len(run.checks)} checks held"] if run.checks else []
    parts.append(f"{devices} devices for {run.duration_s:.0f} s")
    judged = any(word in run.counts for word in FAULTS)
    parts.append(", ".join(bad) if bad else "nothing lost" if judged else "losses not judged")
    return "; ".join(parts) + "."


def tiles(run: Run) -> list[Tile]:
    """The numbers that people look for first, as far as they were judged."""
    return [
        Tile(
            word.replace("_", " "),
            show_count(run.counts[word]),
            WORDS[word],
            word in FAULTS and run.counts[word] > 0,
        )
        for word in _TILES
        if word in run.counts
    ]


def loss_bars(run: Run) -> list[LossBar]:
    """The hops in their order; the bar is relative to the worst of them."""
    worst = max((hop.lost for hop in run.hops), default=0)
    return [LossBar(hop, 100 * hop.lost / worst if worst else 0.0) for hop in run.hops]


def time_plots(run: Run, shown: list[Column]) -> list[tuple[str, tuple[plots.Curve, ...], str]]:
    """(heading, curves for the legend, SVG), each with the scenario's ribbon under it."""
    if not shown:
        return []
    duration_s = max(run.duration_s, shown[-1].end_s)
    wanted = (
        ("Statuses per second", plots.THROUGHPUT, False),
        ("Reply latency", plots.LATENCY, True),
        ("Connected devices", plots.CONNECTED, False),
    )
    return [
        (
            title,
            curves,
            plots.over_time(title, shown, curves, run.ribbon, duration_s, is_latency=is_latency),
        )
        for title, curves, is_latency in wanted
    ]
