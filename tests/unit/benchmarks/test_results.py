"""Figures of a benchmark: medians, shares, the table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.stage.results import Results
from benchmarks.stage.table import table

MACHINE = {
    "date": "2026-11-20",
    "processor": "some",
    "cores": 2,
    "kernel": "6.1",
    "python": "3.11.7",
    "mosquitto": "2.0.11",
    "fdatasync_p50_ms": 0.2,
    "fdatasync_p99_ms": 1.0,
}


def sample(per_s: float, cpu_us: float = 50.0, **more: float) -> dict[str, float]:
    return {"per_s": per_s, "p50_us": 200.0, "p99_us": 4_100.0, "cpu_us": cpu_us, **more}


def results() -> Results:
    made = Results("C", MACHINE)
    for per_s in (10_000.0, 40_000.0, 30_000.0):
        made.add("same/100", "ours", sample(per_s))
        made.add("same/100", "empty", sample(2 * per_s, cpu_us=10.0))
    made.add("different/100", "ours", sample(9_000.0, forwarded_per_s=8_000.0))
    made.add("different/100", "empty", sample(100_000.0))
    made.add("recovery", "ours", {"first_status_ms": 350.0})
    made.add("rubbish/10", "ours", {"ratio": 1.25})
    made.add("rubbish/10", "empty", {"ratio": 1.0})
    return made


def test_a_figure_is_the_median_and_a_share_is_taken_round_by_round() -> None:
    made = results()

    assert (made.median("same/100", "ours") or {})["per_s"] == 30_000
    assert made.share("same/100", "per_s", "ours") == 0.5
    assert made.median("same/500", "ours") is None


def test_results_survive_their_file(tmp_path: Path) -> None:
    results().save(tmp_path / "black_box.json")

    assert Results.load(tmp_path / "black_box.json") == results()


def test_the_table_tells_goal_figure_spread_and_share() -> None:
    lines = list(table(results()))

    wanted = "| unchanged, per second | 100 | 33,000 | **30,000** (10,000 to 40,000) | 0.50 | 3 |"
    assert wanted in lines
    assert any("at the control plane | 100 | 10,000 | **8,000**" in line for line in lines)
    assert any("| **350** (350 to 350) ms |" in line for line in lines)
    assert any("| 1.5 x | **1.25** (1.25 to 1.25) x |" in line for line in lines)
