"""The report in a real browser: no error in its console, nothing fetched, everything visible."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.report.run_folder import write_run
from tests import browser
from tests.unit.fleet_lab.report.example_run import empty_run, example_run

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "there is one")

RESOURCES = "return performance.getEntriesByType('resource').map(entry => entry.name)"
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_the_report_opens_without_an_error_and_fetches_nothing(tmp_path: Path) -> None:
    full = write_run(example_run(), tmp_path / "full")[-1]
    empty = write_run(empty_run(), tmp_path / "empty")[-1]
    with browser.browser(tmp_path) as chromium:
        for page, title in ((full, "FAILED: demo"), (empty, "NO CHECKS: nothing")):
            chromium.open(page.as_uri())
            assert str(chromium.run("return document.title")).startswith(title)
            assert chromium.console() == []
            assert chromium.run(RESOURCES) == []
            assert chromium.run(OVERFLOW) == 0


def test_plots_are_drawn_with_their_ribbon_in_light_and_dark(tmp_path: Path) -> None:
    page = write_run(example_run(), tmp_path / "full")[-1]
    grounds = []
    for flags in ((), ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")):
        folder = tmp_path / f"profile{len(grounds)}"
        with browser.browser(folder, *flags) as chromium:
            chromium.open(page.as_uri())
            heights = chromium.run(
                "return [...document.querySelectorAll('svg')].map(s => s.clientHeight)"
            )
            assert len(heights) == 4
            assert min(heights) > 150
            spans = "return document.querySelectorAll('.plot svg .span').length"
            assert chromium.run(spans) == 9
            grounds.append(chromium.run("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(249, 249, 247)", "rgb(13, 13, 13)"]
