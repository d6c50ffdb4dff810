from __future__ import annotations

import math

import pytest

from module_gateway.observe.status.figures import Figures, quantile, rate, read_figures

TEXT = """\
# HELP a_total A.
# TYPE a_total counter
a_total{reason="x",of="1"} 3.0
a_total{reason="x",of="2"} 4.0
a_total{reason="y",of="1"} 5.0
# HELP w W.
# TYPE w histogram
w_bucket{le="0.1"} 1.0
w_bucket{le="0.5"} 3.0
w_bucket{le="+Inf"} 4.0
w_count 4.0
w_sum 2.0
"""


def test_samples_are_summed_over_the_labels_that_are_not_named() -> None:
    figures = read_figures(TEXT)
    assert figures.sum("a_total") == 12
    assert figures.sum("a_total", reason="x") == 7
    assert figures.sum("a_total", reason="x", of="2") == 4
    assert figures.sum("a_total", reason="z") is None
    assert figures.sum("nothing") is None
    assert figures.by("a_total", "reason") == {"x": 7, "y": 5}


def test_text_of_somebody_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        read_figures("<html>")


def test_a_rate_is_growth_per_second_and_a_restart_counts_from_zero() -> None:
    before, after = Figures({"c": {(): 10.0}}), Figures({"c": {(): 30.0}})
    assert rate(before, after, "c", 2.0) == 10
    assert rate(after, before, "c", 2.0) == 5
    assert rate(before, after, "d", 2.0) is None
    assert rate(before, after, "c", 0.0) is None


def test_a_quantile_is_that_of_what_came_between_the_looks() -> None:
    nothing = Figures()
    after = read_figures(TEXT)
    assert quantile(nothing, after, "w", 0.5) == 0.5
    assert quantile(nothing, after, "w", 0.99) == math.inf
    earlier = read_figures(TEXT.replace('"0.5"} 3.0', '"0.5"} 2.0').replace("} 4.0", "} 3.0"))
    assert quantile(earlier, after, "w", 0.99) == 0.5
    assert quantile(after, after, "w", 0.25) == 0.1
    assert quantile(nothing, nothing, "w", 0.5) is None
