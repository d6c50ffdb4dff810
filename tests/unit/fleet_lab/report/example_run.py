"""A run made by hand, with something of everything that a report can show."""

from __future__ import annotations

from dataclasses import replace

from fleet_lab.report.model import (
    Bucket,
    CheckResult,
    Distribution,
    FleetResult,
    Hop,
    LinkResult,
    Offender,
    Run,
    Series,
    Span,
)

SECONDS = 60
HOSTILE = "<script>alert('x')</script>&\"'"


def example_run() -> Run:
    outage = range(20, 40)
    return Run(
        title="demo: control plane away for 20 s",
        command=("fleet-lab", "demo", "--seed", "7", "--out", "a folder"),
        seed=7,
        started_unix_s=1_795_000_000.0,
        duration_s=float(SECONDS),
        checks=(
            CheckResult("lost == 0", is_passed=True, measured="0"),
            CheckResult("p99 < 1ms", is_passed=False, measured="p99 = 3.2 ms", explanation=HOSTILE),
        ),
        counts={
            "sent": 1200, "answered": 1198, "lost": 1, "duplicated": 0, "reordered": 0,
            "phantom": 0, "late": 2, "in_doubt": 2, "folded": 400,
        },
        offenders=(
            Offender("lost", f"3/1/{HOSTILE}", 17, "answered at 12.3 s, then nothing"),
            Offender("late", "3/1/device_2", 4, "312 ms"),
        ),
        latencies=(
            Distribution(
                "reply", 1198, 0.0006, 0.0012, 0.002, 0.0032, 0.25, 0.312,
                (Bucket(0.001, 400), Bucket(0.0015, 600), Bucket(0.003, 190), Bucket(0.32, 8)),
            ),
            Distribution(
                "upstream", 798, 0.001, 0.004, 0.01, 12.0, 19.0, 19.9,
                (Bucket(0.005, 700), Bucket(20.0, 98)),
            ),
        ),
        series=Series(
            sent=(20,) * SECONDS,
            answered=(20,) * SECONDS,
            upstream=tuple(0 if at in outage else 20 for at in range(SECONDS)),
            connected=(20,) * SECONDS,
            p50_s=tuple(None if at == 30 else 0.0012 for at in range(SECONDS)),
            p99_s=tuple(None if at == 30 else 0.003 for at in range(SECONDS)),
        ),
        ribbon=(
            Span("control plane killed", 20.0, 40.0, "fault"),
            Span("cars on LTE", 10.0, None, "link"),
            Span("scale to 30", 45.0, 45.0, "load"),
        ),
        hops=(
            Hop("device to gateway", 1200, 1198, 2, 0.0012, 0.0032),
            Hop("gateway to control plane", 1198, 1197, 1, 0.004, 12.0),
        ),
        links=(
            LinkResult("LTE", "cars", 20, 0.04, 0.01, 15e6, 0.041, 0.055, 14.2e6, 0, 0, True),
            LinkResult("GPRS", "vans", 5, 0.7, 0.1, 50e3, 0.9, 1.4, None, 3, 1, False),
        ),
        fleets=(FleetResult("cars", 20, 1200, 1198, 22, 0, 2, 0, 0, 0.004),),
        notes=(f"one note {HOSTILE}",),
        spec={"fleets": [{"name": "cars", "size": 20}]},
        versions={"module-gateway": "0.1.0"},
    )  # fmt: skip


def empty_run() -> Run:
    return Run("nothing", ("fleet-lab", "demo"), 1, 0.0, 0.0)


def long_run(seconds: int) -> Run:
    counts = tuple(range(seconds))
    latencies = tuple(0.001 * (i % 7) for i in range(seconds))
    return replace(
        example_run(),
        duration_s=float(seconds),
        series=Series(1.0, counts, counts, counts, counts, latencies, latencies),
    )
