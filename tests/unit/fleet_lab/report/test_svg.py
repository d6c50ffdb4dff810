from __future__ import annotations

from fleet_lab.report.svg import hint, path, tag, text


def test_text_is_escaped_and_elements_are_not() -> None:
    assert tag("g", hint("<b>"), "a&b") == "<g><title>&lt;b&gt;</title>a&amp;b</g>"


def test_attributes_are_escaped_named_as_in_svg_and_left_out_when_none() -> None:
    written = tag("rect", class_='"x"', stroke_width=1.25, x=2.0, y=None)
    assert written == '<rect class="&#34;x&#34;" stroke-width="1.2" x="2"></rect>'


def test_a_line_is_broken_where_a_value_is_missing() -> None:
    drawn = path([(0, 1), (2, 3), None, None, (4, 5), (6, 7)], "curve")
    assert drawn == '<path d="M0.0 1.0 L2.0 3.0 M4.0 5.0 L6.0 7.0" class="curve"></path>'


def test_a_lonely_point_is_visible() -> None:
    assert 'd="M1.0 1.0 L1.1 1.0"' in path([None, (1, 1), None], "curve")


def test_nothing_to_draw_draws_nothing() -> None:
    assert path([None], "curve") == ""


def test_text_has_its_anchor() -> None:
    assert text(1, 2, "a", "tick", "end") == (
        '<text x="1" y="2" class="tick" text-anchor="end">a</text>'
    )
