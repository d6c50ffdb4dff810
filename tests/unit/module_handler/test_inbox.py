"""The queue between the bus and the core."""

from __future__ import annotations

from module_gateway.module_handler.core import Heard, MessagesMissed, PageRead, PeerUp
from module_gateway.module_handler.inbox import MAX_BATCHES, MAX_MESSAGES, Inbox
from module_gateway.module_handler.store import LogQuery, Page
from module_gateway.protocol import bus_pb2
from tests.unit.module_handler.rig import CLIENT, SERVER, device


def batch(count: int) -> Heard:
    return Heard(SERVER, [bus_pb2.Message()] * count)


def test_events_come_out_in_order_and_whole() -> None:
    inbox = Inbox()
    events = [batch(2), PeerUp(SERVER), batch(1)]
    assert [True] * 3 == [inbox.put(event) for event in events]
    assert (3, 3) == (len(inbox), inbox.messages)
    assert events == inbox.take()
    assert (0, 0) == (len(inbox), inbox.messages)


def test_a_turn_takes_about_as_many_messages_as_it_may() -> None:
    inbox = Inbox()
    for _ in range(4):
        inbox.put(batch(10))
    assert 2 == len(inbox.take(max_messages=11))
    assert 1 == len(inbox.take(max_messages=1))
    assert 10 == inbox.messages


def test_messages_beyond_the_bound_are_refused() -> None:
    inbox = Inbox()
    assert inbox.put(batch(MAX_MESSAGES))
    assert not inbox.put(batch(1))
    inbox.take()
    assert inbox.put(batch(1))


def test_what_was_refused_is_said_once_behind_what_waited() -> None:
    inbox = Inbox()
    inbox.put(batch(MAX_MESSAGES - 1))
    inbox.put(batch(1))
    assert [False, False] == [inbox.put(batch(1)), inbox.put(batch(1))]
    assert MessagesMissed() not in inbox.take()
    assert [batch(1), MessagesMissed()] == inbox.take()
    inbox.put(batch(1))
    assert [batch(1)] == inbox.take()


def test_batches_beyond_the_bound_are_refused() -> None:
    inbox = Inbox()
    assert all(inbox.put(batch(1)) for _ in range(MAX_BATCHES))
    assert not inbox.put(batch(1))
    inbox.take(max_messages=1)
    assert inbox.put(batch(1))


def test_news_of_peers_are_never_refused() -> None:
    inbox = Inbox()
    inbox.put(batch(MAX_MESSAGES))
    assert inbox.put(PeerUp(SERVER))


def test_what_must_be_known_first_comes_first() -> None:
    inbox = Inbox()
    inbox.put(PeerUp(SERVER))
    inbox.put_first(PeerUp(CLIENT))
    assert [PeerUp(CLIENT), PeerUp(SERVER)] == inbox.take()


def test_pages_that_nobody_waits_for_are_forgotten_and_nothing_else() -> None:
    inbox = Inbox()
    page = PageRead(Page(LogQuery(device().identity, 1), (), is_complete=True))
    for event in (PeerUp(SERVER), page, batch(2), page):
        inbox.put(event)
    inbox.forget_pages()
    assert [PeerUp(SERVER), batch(2)] == inbox.take()
