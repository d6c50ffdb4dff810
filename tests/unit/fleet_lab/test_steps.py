from __future__ import annotations

from dataclasses import replace

import pytest

from fleet_lab.links.conditions import CLEAR, LINKS
from fleet_lab.steps import (
    LOOK_EVERY_S,
    Act,
    Begin,
    Cut,
    End,
    Heal,
    LinkBook,
    Scale,
    Scenario,
    Send,
    SetLink,
    Step,
    Timeline,
)

OFFLINE, LTE, WIFI = LINKS["OFFLINE"], LINKS["LTE"], LINKS["WIFI"]


def _never(expression: str) -> bool:
    raise AssertionError(expression)


def test_timed_steps_begin_in_time_and_end_after_their_duration() -> None:
    timeline = Timeline([Step(Cut("cars"), at_s=5.0, for_s=2.0), Step(Scale("cars", 3), at_s=1.0)])

    assert timeline.next_s(0.0) == 1.0
    assert timeline.due(0.9, _never) == []
    assert timeline.due(1.0, _never) == [Begin(1)]
    assert timeline.due(5.0, _never) == [Begin(0)]
    assert timeline.next_s(5.0) == 7.0
    assert not timeline.is_over
    assert timeline.due(7.0, _never) == [End(0)]
    assert timeline.is_over
    assert timeline.next_s(7.0) is None


def test_ends_come_before_begins_of_the_same_moment() -> None:
    timeline = Timeline([Step(Cut("a"), at_s=0.0, for_s=5.0), Step(Cut("b"), at_s=5.0)])
    timeline.due(0.0, _never)

    assert timeline.due(5.0, _never) == [End(0), Begin(1)]


def test_a_late_look_does_not_shift_the_end() -> None:
    timeline = Timeline([Step(Cut("cars"), at_s=5.0, for_s=2.0)])
    timeline.due(5.5, _never)

    assert timeline.next_s(5.5) == 7.0


def test_a_condition_is_asked_from_its_time_on_until_it_holds_once() -> None:
    timeline = Timeline([Step(Cut("cars"), at_s=5.0, when="sent > 3", for_s=2.0)])
    asked: list[str] = []

    def not_yet(expression: str) -> bool:
        asked.append(expression)
        return False

    assert timeline.due(1.0, _never) == []
    assert timeline.next_s(1.0) == 5.0
    assert timeline.due(5.0, not_yet) == []
    assert asked == ["sent > 3"]
    assert timeline.next_s(5.0) == 5.0 + LOOK_EVERY_S
    assert timeline.due(6.0, lambda _: True) == [Begin(0)]
    assert timeline.due(8.0, _never) == [End(0)]


def test_the_end_of_a_scenario_is_that_of_its_last_step() -> None:
    steps = (Step(Cut("a"), at_s=5.0, for_s=20.0), Step(Heal("a"), at_s=10.0))

    assert Scenario(steps).end_s == 25.0
    assert Scenario().end_s == 0.0


@pytest.mark.parametrize(
    ("step", "title", "kind"),
    [
        (Step(Scale("a", 1)), "scale", "load"),
        (Step(Send("a", b"")), "send", "step"),
        (Step(SetLink("a", WIFI)), "link", "link"),
        (Step(SetLink("a", OFFLINE)), "outage", "fault"),
        (Step(Cut("a")), "outage", "fault"),
        (Step(Heal("a")), "heal", "fault"),
        (Step(Act("x", "kill")), "kill", "fault"),
        (Step(Act("x", "kill"), for_s=3.0), "outage", "fault"),
        (Step(Act("x", "pause")), "outage", "fault"),
        (Step(Act("x", "restart")), "restart", "fault"),
        (Step(Cut("a"), name="tunnel"), "tunnel", "fault"),
    ],
)
def test_a_step_has_a_name_for_checks_and_a_kind_for_the_ribbon(
    step: Step, title: str, kind: str
) -> None:
    assert (step.title, step.kind) == (title, kind)


@pytest.mark.parametrize(
    ("step", "is_lasting"),
    [
        (Step(Scale("a", 1)), False),
        (Step(Act("x", "restart")), False),
        (Step(Act("x", "pause")), True),
        (Step(Act("x", "kill"), for_s=1.0), True),
        (Step(SetLink("a", WIFI)), True),
    ],
)
def test_only_what_goes_on_has_a_span(step: Step, *, is_lasting: bool) -> None:
    assert step.is_lasting is is_lasting


def test_the_link_book_returns_to_what_was_declared() -> None:
    book = LinkBook({"cars": LTE})
    book.put(0, "cars", OFFLINE, 1.0)
    assert book.now("cars") == OFFLINE
    assert book.remove(0, "cars")

    assert book.orders("cars") == [(LTE, 1.0)]
    assert book.now("cars") == LTE
    assert book.now("others") == CLEAR


def test_overlapping_changes_end_each_for_itself() -> None:
    book = LinkBook({"cars": LTE})
    book.put(0, "cars", WIFI, 1.0)
    book.put(1, "cars", OFFLINE, 0.5)
    assert book.orders("cars") == [(WIFI, 1.0), (OFFLINE, 0.5)]
    book.remove(0, "cars")
    assert book.orders("cars") == [(LTE, 1.0), (OFFLINE, 0.5)]
    book.put(2, "cars", replace(WIFI, delay_s=9.0), 1.0)

    assert book.orders("cars") == [(replace(WIFI, delay_s=9.0), 1.0)]


def test_healing_ends_every_change_and_says_whose() -> None:
    book = LinkBook({"cars": LTE})
    book.put(3, "cars", WIFI, 1.0)
    book.put(5, "cars", OFFLINE, 1.0)

    assert book.remove_all("cars") == [3, 5]
    assert not book.remove(3, "cars")
    assert book.orders("cars") == [(LTE, 1.0)]
