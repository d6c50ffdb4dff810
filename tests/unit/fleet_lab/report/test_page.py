from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from fleet_lab.report.columns import columns
from fleet_lab.report.model import CheckResult
from fleet_lab.report.page import loss_bars, render, sentence, tiles, time_plots, verdict_words
from tests.unit.fleet_lab.report.example_run import HOSTILE, empty_run, example_run, long_run


class Outline(HTMLParser):
    """Which elements a page has, in which order, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in {"src", "href", "action"} and v is not None]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "h2" and data.strip():
            self.headings.append(data.strip())


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    return found


def test_the_verdict_comes_first_then_checks_then_what_explains_them() -> None:
    page = render(example_run())
    assert page.index('class="verdict"') < page.index('id="checks"') < page.index("<svg")
    assert [h for h in outline(page).headings if h != "Mind"] == [
        "Checks", "Statuses per second", "Reply latency", "Connected devices", "Latencies",
        "Losses by hop", "Links: declared and achieved", "Fleets", "Offenders", "Every count",
        "Repeat",
    ]  # fmt: skip


def test_nothing_is_loaded_from_anywhere_and_nothing_is_executed() -> None:
    found = outline(render(example_run()))
    assert "script" not in found.tags
    assert found.addresses == ["data:,"]


def test_what_peers_wrote_is_shown_as_text() -> None:
    page = render(example_run())
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(") == 3


def test_seed_and_command_are_there_to_be_copied() -> None:
    page = render(example_run())
    assert "fleet-lab demo --seed 7 --out &#39;a folder&#39;" in page
    assert "seed 7" in page


def test_every_time_plot_has_the_ribbon_under_it() -> None:
    run = example_run()
    drawn = [svg for _, _, svg in time_plots(run, columns(run.series))]
    assert len(drawn) == 3
    assert all("control plane killed" in svg and "scale to 30" in svg for svg in drawn)


def test_a_run_without_anything_still_makes_a_page() -> None:
    page = render(empty_run())
    assert "NO CHECKS" in page
    assert "<svg" not in page


def test_a_long_run_says_that_seconds_were_put_together() -> None:
    page = render(long_run(5000))
    assert "Each point stands for several seconds" in page
    assert len(page) < 700_000


def test_the_banner_follows_the_checks() -> None:
    run = example_run()
    assert verdict_words(run) == ("failed", "FAILED")
    held = replace(run, checks=(CheckResult("lost == 0", is_passed=True, measured="0"),))
    assert verdict_words(held) == ("passed", "PASSED")
    assert verdict_words(empty_run()) == ("unjudged", "NO CHECKS")


def test_the_sentence_names_what_is_bad_and_what_was_not_judged() -> None:
    run = example_run()
    assert sentence(run) == "1 of 2 checks held; 20 devices for 60 s; 1 lost."
    assert sentence(replace(run, counts={"lost": 0})).endswith("nothing lost.")
    assert sentence(empty_run()).endswith("losses not judged.")


def test_only_faults_that_happened_are_alarming() -> None:
    assert [tile.word for tile in tiles(example_run()) if tile.is_bad] == ["lost"]


def test_loss_bars_are_relative_to_the_worst_hop() -> None:
    assert [bar.lost_percent for bar in loss_bars(example_run())] == [100.0, 50.0]


def test_words_without_an_entry_in_the_glossary_are_still_shown() -> None:
    assert "late upstream" in render(replace(example_run(), counts={"late_upstream": 3}))
