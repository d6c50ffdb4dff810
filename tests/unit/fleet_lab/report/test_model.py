from __future__ import annotations

from dataclasses import fields

from fleet_lab.report.model import FAULTS, WORDS
from tests.unit.fleet_lab.report.example_run import empty_run, example_run


def test_a_run_passes_when_every_check_held() -> None:
    assert not example_run().is_passed
    assert empty_run().is_passed


def test_every_fault_is_a_word_with_a_meaning() -> None:
    assert set(FAULTS) < set(WORDS)


def test_a_run_says_what_its_numbers_are() -> None:
    assert {"seed", "command", "checks", "counts", "series", "ribbon", "links"} <= {
        field.name for field in fields(example_run())
    }
