from __future__ import annotations

import pytest

from module_gateway.observe.tap.inbox import Arrived, Inbox


def arrived(number: int, size_bytes: int = 1) -> Arrived:
    return Arrived(0, f"t/{number}", bytes(size_bytes), number)


def test_first_in_first_out() -> None:
    inbox = Inbox()
    assert not inbox
    inbox.put(arrived(1))
    inbox.put(arrived(2))
    assert [inbox.take().time_unix_ms, inbox.take().time_unix_ms] == [1, 2]
    with pytest.raises(IndexError):
        inbox.take()


def test_the_newest_give_way_when_there_are_too_many() -> None:
    inbox = Inbox(max_messages=2)
    assert [inbox.put(arrived(number)) for number in range(4)] == [True, True, False, False]
    assert inbox.dropped == 2
    assert inbox.take().time_unix_ms == 0


def test_bytes_are_bounded_and_come_free_again() -> None:
    inbox = Inbox(max_bytes=10)
    assert inbox.put(arrived(1, 6))
    assert not inbox.put(arrived(2, 6))
    inbox.take()
    assert inbox.put(arrived(3, 6))
