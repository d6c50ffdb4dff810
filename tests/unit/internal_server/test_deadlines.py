"""Who is looked at when."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from module_gateway.internal_server.deadlines import Deadlines

WINDOW_S = 0.25


@dataclass(eq=False)
class Thing:
    deadline: float
    watched_at: float = inf
    asked_at: float = inf

    def ask(self, now: float) -> float:
        self.asked_at = now
        self.deadline = now + WINDOW_S
        return now


def test_nothing_is_due_without_anything():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    assert deadlines.next_due() == inf
    assert list(deadlines.take_due(1e9)) == []


def test_what_is_due_comes_out_once_and_in_order():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    things = [Thing(3.0), Thing(1.0), Thing(2.0)]
    for thing in things:
        deadlines.watch(thing)
    assert deadlines.next_due() == 1.0
    taken = []
    for thing in deadlines.take_due(2.5):
        taken.append(thing)
        thing.deadline = inf
    assert taken == [things[1], things[2]]
    assert deadlines.next_due() == 3.0


def test_a_deadline_that_moved_later_costs_nothing_until_its_entry_comes_up():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    thing = Thing(5.0)
    deadlines.watch(thing)
    for deadline in (6.0, 7.0, 8.0):
        thing.deadline = deadline
        deadlines.watch(thing)
    assert len(deadlines._others) == 1
    assert list(deadlines.take_due(5.0)) == []
    assert deadlines.next_due() == 8.0


def test_a_deadline_that_moved_earlier_is_kept():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    thing = Thing(30.0)
    deadlines.watch(thing)
    thing.deadline = 10.0
    deadlines.watch(thing)
    assert deadlines.next_due() == 10.0
    for due in deadlines.take_due(10.0):
        due.deadline = inf
    assert list(deadlines.take_due(30.0)) == []
    assert deadlines.next_due() == inf


def test_answers_fall_due_in_the_order_of_asking():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    first, second = Thing(inf), Thing(inf)
    assert deadlines.expect_answer(first, first.ask(1.0))
    assert not deadlines.expect_answer(second, second.ask(1.125))
    assert deadlines.next_due() == 1.25
    assert list(deadlines.take_due(1.25)) == [first]
    assert deadlines.next_due() == 1.375


def test_an_answered_request_is_forgotten_and_its_successor_kept():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    thing = Thing(inf)
    deadlines.expect_answer(thing, thing.ask(1.0))
    deadlines.expect_answer(thing, thing.ask(1.125))  # answered, and asked again
    assert list(deadlines.take_due(1.25)) == []
    assert deadlines.next_due() == 1.375
    assert list(deadlines.take_due(1.375)) == [thing]


def test_what_was_answered_is_forgotten_before_its_window_ends():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    answered, waiting = Thing(inf), Thing(inf)
    deadlines.expect_answer(answered, answered.ask(1.0))
    deadlines.expect_answer(waiting, waiting.ask(1.125))
    answered.asked_at = inf
    assert list(deadlines.take_due(1.2)) == []
    assert deadlines.next_due() == 1.375


def test_whoever_has_no_deadline_any_more_is_let_go():
    deadlines: Deadlines[Thing] = Deadlines(WINDOW_S)
    thing = Thing(1.0)
    deadlines.watch(thing)
    deadlines.expect_answer(thing, thing.ask(0.5))
    thing.deadline = thing.asked_at = inf
    assert list(deadlines.take_due(2.0)) == []
    assert deadlines.next_due() == inf
    assert thing.watched_at == inf
