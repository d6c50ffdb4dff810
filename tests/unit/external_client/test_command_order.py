from __future__ import annotations

import pytest

from module_gateway.external_client.command_order import RETRY_S, CommandOrder, Place
from module_gateway.protocol.external import Command
from tests.unit.external_client.world import device


def command(counter: int, payload: bytes = b"x") -> Command:
    return Command("session", counter, device(), payload)


@pytest.mark.parametrize("first", [0, 5, 2**32 - 1])
def test_first_may_be_anything_and_the_next_is_one_more(first: int) -> None:
    order = CommandOrder()
    assert Place.NEXT is order.place(command(first))
    assert Place.REPEATED is order.place(command(first))
    assert Place.OUT_OF_ORDER is order.place(command((first + 2) % 2**32))
    assert Place.NEXT is order.place(command((first + 1) % 2**32))


def test_same_counter_with_other_content_is_no_repetition() -> None:
    order = CommandOrder()
    order.place(command(1, b"one"))
    assert Place.OUT_OF_ORDER is order.place(command(1, b"other"))


def test_older_counter_is_out_of_order() -> None:
    order = CommandOrder()
    for counter in (1, 2, 3):
        order.place(command(counter))
    assert Place.OUT_OF_ORDER is order.place(command(2))


def test_answer_is_recorded_for_the_newest() -> None:
    order = CommandOrder()
    order.place(command(1))
    order.forward(command(1), 0.0)
    assert order.last_answer is None
    order.answer(1, 3)
    assert 3 == order.last_answer
    order.place(command(2))
    assert order.last_answer is None
    order.answer(1, 0)
    assert order.last_answer is None


def test_unanswered_commands_are_due_again() -> None:
    order = CommandOrder()
    order.place(command(1))
    order.forward(command(1), 0.0)
    assert RETRY_S == order.next_retry()
    assert [] == order.due(RETRY_S - 0.1)
    assert [command(1)] == order.due(RETRY_S)
    assert 2 * RETRY_S == order.next_retry()
    assert command(1) == order.opened(1)
    order.answer(1, 0)
    assert order.next_retry() is None
    assert order.opened(1) is None
    assert 0 == order.open_commands
