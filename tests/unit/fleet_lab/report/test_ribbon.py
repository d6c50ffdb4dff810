from __future__ import annotations

from fleet_lab.report.model import Span
from fleet_lab.report.ribbon import bands, bars, height_px, lanes
from fleet_lab.report.scales import Linear

X = Linear(0.0, 100.0, 0.0, 1000.0)


def test_spans_that_do_not_meet_share_a_lane() -> None:
    spans = [Span("a", 0, 10), Span("b", 20, 30), Span("c", 25, 40), Span("d", 50, None)]
    assert lanes(spans, X) == [0, 0, 1, 0]


def test_a_label_beside_a_point_needs_room_too() -> None:
    spans = [Span("a rather long name", 10, 10), Span("b", 15, 20)]
    assert lanes(spans, X) == [0, 1]


def test_height_follows_the_lanes() -> None:
    assert height_px([], X) == 0
    assert height_px([Span("a", 0, 10)], X) < height_px([Span("a", 0, 10), Span("b", 5, 9)], X)


def test_a_bar_tells_when_it_was() -> None:
    assert "outage: from 20 s to 40 s" in bars([Span("outage", 20, 40, "fault")], X, 0)
    assert "scale: at 20 s" in bars([Span("scale", 20, 20)], X, 0)
    assert "link: from 20 s to the end" in bars([Span("link", 20, None)], X, 0)


def test_a_name_without_room_to_its_right_stands_to_its_left() -> None:
    assert 'text-anchor="end"' in bars([Span("a rather long name", 99, 99)], X, 0)


def test_bands_have_the_width_of_their_spans_and_points_are_lines() -> None:
    drawn = bands([Span("a", 20, 40, "fault"), Span("b", 50, 50, "unheard of")], X, 10, 110)
    assert '<rect x="200" y="10" width="200" height="100" class="band fault">' in drawn
    assert '<rect x="500" y="10" width="1" height="100" class="band step">' in drawn
