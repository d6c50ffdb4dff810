from __future__ import annotations

from dataclasses import replace

from fleet_lab.report.table import verdict_json, verdict_text
from tests.unit.fleet_lab.report.example_run import empty_run, example_run


def test_the_table_marks_faults_and_ends_with_the_verdict() -> None:
    lines = verdict_text(example_run()).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("!")] == ["lost"]
    assert "  held   lost == 0: 0" in lines
    assert lines[-1] == "FAILED: 1 of 2 checks did not hold."
    assert (
        "  lost: 3/1/<script>alert('x')</script>&\"' attempt 17, answered at 12.3 s, then nothing"
        in lines
    )


def test_a_run_whose_checks_held_says_so() -> None:
    run = example_run()
    text = verdict_text(replace(run, checks=run.checks[:1]))
    assert text.endswith("PASSED: all 1 checks held.")
    assert verdict_text(empty_run()).endswith("No checks were asked for.")


def test_latencies_have_their_columns() -> None:
    assert "  upstream       4 ms       12 s     19.9 s" in verdict_text(example_run())


def test_a_script_gets_what_it_decides_by() -> None:
    found = verdict_json(example_run())
    assert found["passed"] is False
    assert found["counts"]["sent"] == 1200
    assert found["checks"][0] == {"text": "lost == 0", "passed": True, "measured": "0"}
    assert found["latencies"]["reply"] == {"count": 1198, "p50_s": 0.0012, "p99_s": 0.0032}
