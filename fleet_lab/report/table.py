"""The verdict as lines of text for a terminal, and as JSON for a script."""

from __future__ import annotations

from typing import Any

from fleet_lab.report.model import FAULTS, WORDS, Run
from fleet_lab.report.scales import show_count, show_latency


def verdict_text(run: Run) -> str:
    """A table of what happened, the latencies, the checks, and one last line that sums it up."""
    lines = [f"{run.title}: {run.duration_s:.0f} s, seed {run.seed}", ""]
    width = max((len(word) for word in run.counts), default=0)
    for word, number in run.counts.items():
        mark = "!" if word in FAULTS and number else " "
        meaning = WORDS.get(word, "")
        lines.append(f"{mark} {_words(word):<{width}}  {show_count(number):>9}  {meaning}".rstrip())
    lines += ["", *_latency_lines(run)] if run.latencies else []
    if run.offenders:
        lines.append("")
        lines += [
            f"  {_words(one.word)}: {one.device}"
            + ("" if one.number is None else f" attempt {one.number}")
            + (f", {one.explanation}" if one.explanation else "")
            for one in run.offenders
        ]
    if run.checks:
        lines.append("")
        for check in run.checks:
            more = f" ({check.explanation})" if check.explanation else ""
            state = "held  " if check.is_passed else "FAILED"
            lines.append(f"  {state} {check.text}: {check.measured}{more}")
    lines += ["", *(f"  mind: {note}" for note in run.notes)] if run.notes else []
    return "\n".join([*lines, "", _last_line(run)])


def verdict_json(run: Run) -> dict[str, Any]:
    """What a script decides by."""
    return {
        "passed": run.is_passed,
        "seed": run.seed,
        "duration_s": run.duration_s,
        "counts": dict(run.counts),
        "checks": [
            {"text": c.text, "passed": c.is_passed, "measured": c.measured} for c in run.checks
        ],
        "latencies": {
            each.name: {"count": each.count, "p50_s": each.p50_s, "p99_s": each.p99_s}
            for each in run.latencies
        },
        "command": list(run.command),
    }


def _latency_lines(run: Run) -> list[str]:
    width = max(len(each.name) for each in run.latencies)
    head = f"  {'':<{width}}  {'p50':>9}  {'p99':>9}  {'max':>9}"
    rows = [
        f"  {each.name:<{width}}"
        + "".join(f"  {show_latency(v):>9}" for v in (each.p50_s, each.p99_s, each.max_s))
        for each in run.latencies
    ]
    return [head, *rows]


def _last_line(run: Run) -> str:
    if not run.checks:
        return "No checks were asked for."
    failed = sum(not check.is_passed for check in run.checks)
    if failed:
        return f"FAILED: {failed} of {len(run.checks)} checks did not hold."
    return f"PASSED: all {len(run.checks)} checks held."


def _words(word: str) -> str:
    return word.replace("_", " ")
