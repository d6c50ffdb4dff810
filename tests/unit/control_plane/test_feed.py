from __future__ import annotations

import asyncio

import pytest

from module_gateway.control_plane.feed import (
    BACKLOG_BYTES,
    Feed,
    News,
    TooManyListenersError,
)

ONE, TWO = News("status", "1"), News("status", "2")


async def test_every_listener_hears_everything_in_order():
    feed = Feed(4, 10)
    listeners = [feed.listen(), feed.listen()]
    feed.publish(ONE)
    feed.publish(TWO)
    for listener in listeners:
        assert [await listener.next(1), await listener.next(1)] == [ONE, TWO]


async def test_a_waiting_listener_is_woken():
    feed = Feed(4, 10)
    listener = feed.listen()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(listener.next(5))
        await asyncio.sleep(0)
        feed.publish(ONE)
    assert waiting.result() == ONE


async def test_nothing_new_within_the_time_is_none():
    listener = Feed(4, 10).listen()
    assert await listener.next(0.001) is None
    assert not listener.is_ended


async def test_a_slow_listener_is_dropped_and_told_as_its_last():
    feed = Feed(4, 2)
    slow, other = feed.listen(), feed.listen()
    for news in (ONE, TWO, ONE):
        feed.publish(news)
        assert await other.next(1) == news
    last = await slow.next(1)
    assert last is not None
    assert last.kind == "dropped"
    assert await slow.next(1) is None
    assert slow.is_ended
    assert feed.has_listeners
    feed.leave(other)
    assert not feed.has_listeners


async def test_the_backlog_is_bounded_in_bytes():
    feed = Feed(4, 1000)
    listener = feed.listen()
    feed.publish(News("status", "x" * BACKLOG_BYTES))
    assert not listener.is_ended
    feed.publish(ONE)
    assert listener.is_ended


async def test_listeners_are_bounded():
    feed = Feed(1, 10)
    first = feed.listen()
    with pytest.raises(TooManyListenersError):
        feed.listen()
    feed.leave(first)
    feed.listen()


async def test_closing_ends_every_stream_after_its_backlog():
    feed = Feed(4, 10)
    listener = feed.listen()
    feed.publish(ONE)
    feed.close()
    kinds = [(await listener.next(1)).kind, (await listener.next(1)).kind]
    assert kinds == ["status", "closed"]
    assert await listener.next(1) is None
    with pytest.raises(TooManyListenersError):
        feed.listen()
