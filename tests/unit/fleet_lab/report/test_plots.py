from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from fleet_lab.report.columns import columns
from fleet_lab.report.model import Distribution, Series, Span
from fleet_lab.report.plots import LATENCY, THROUGHPUT, distributions, over_time
from tests.unit.fleet_lab.report.example_run import HOSTILE, example_run, long_run

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ET.Element:
    named = str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    return ET.fromstring(named)


def curve_starts(svg: str) -> list[str]:
    return re.findall(r'<path d="M\S+ (\S+)', svg)


def test_curves_have_the_heights_of_their_values() -> None:
    series = Series(1.0, (10, 10), (5, 5), (0, 0), (1, 1), (None, None), (None, None))
    drawn = over_time("Rates", columns(series), THROUGHPUT, (), 2.0)
    assert curve_starts(drawn) == ["10.0", "105.0", "200.0"]


def test_latency_above_the_limit_shows_the_limit() -> None:
    def drawn(p99_s: float) -> str:
        shown = columns(Series(p50_s=(0.001,), p99_s=(p99_s,)))
        return over_time("Latency", shown, LATENCY, (), 1.0, is_latency=True)

    assert "250 ms" in drawn(0.3)
    assert "250 ms" not in drawn(0.2)


@pytest.mark.parametrize("is_latency", [True, False])
def test_a_plot_is_well_formed_and_within_its_frame(is_latency: bool) -> None:
    run = example_run()
    curves = LATENCY if is_latency else THROUGHPUT
    spans = (*run.ribbon, Span(HOSTILE, 5, 6))
    drawn = over_time(
        "t", columns(run.series), curves, spans, run.duration_s, is_latency=is_latency
    )
    root = parse(drawn)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for rect in root.iter(f"{SVG}rect"):
        assert 0 <= float(rect.attrib["x"]) <= width
        assert float(rect.attrib["y"]) + float(rect.attrib["height"]) <= height + 0.1
    assert root.attrib["aria-label"] == "t"


def test_a_pointer_finds_the_numbers_of_every_second() -> None:
    run = example_run()
    drawn = over_time("Rates", columns(run.series), THROUGHPUT, (), run.duration_s)
    assert "<title>25 s: sent 20, answered 20, seen upstream 0</title>" in drawn
    assert drawn.count('class="hit"') == 60


def test_the_size_of_a_plot_does_not_grow_with_the_run() -> None:
    run = long_run(100_000)
    assert over_time("t", columns(run.series), THROUGHPUT, (), 1e5).count('class="hit"') <= 300


def test_a_distribution_is_an_outline_per_kind_on_a_logarithmic_axis() -> None:
    drawn = distributions("Latencies", example_run().latencies)
    root = parse(drawn)
    assert [p.attrib["class"] for p in root.iter(f"{SVG}path")] == ["curve c1", "curve c2"]
    ticks = [t.text for t in root.iter(f"{SVG}text")]
    assert [t for t in ticks if t is not None and not t.endswith("%")] == [
        "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "250 ms",
    ]  # fmt: skip


def test_a_distribution_without_latencies_is_an_empty_plot() -> None:
    assert "<path" not in distributions("Latencies", [Distribution("reply", 0)])
