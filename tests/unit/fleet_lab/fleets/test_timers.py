from __future__ import annotations

import asyncio
import time

import pytest

from fleet_lab.fleets.timers import TimerHeap


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_calls_come_in_order_of_time_then_of_entry() -> None:
    done, called = asyncio.Event(), []
    heap = TimerHeap(asyncio.get_running_loop())
    now = time.monotonic()
    heap.at(now + 0.004, lambda _: done.set())
    for name, due_s in (("b", now + 0.002), ("c", now + 0.002), ("a", now + 0.001)):
        heap.at(due_s, lambda _, name=name: called.append(name))
    await done.wait()
    assert ["a", "b", "c"] == called


async def test_a_call_is_told_when_it_was_due_and_never_comes_early() -> None:
    heap, called = TimerHeap(asyncio.get_running_loop(), Clock()), []
    heap.at(99.5, called.append)
    heap.at(100.5, called.append)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [99.5] == called
    assert 1 == len(heap)


async def test_an_earlier_entry_does_not_wait_for_a_later_one() -> None:
    heap, done = TimerHeap(asyncio.get_running_loop()), asyncio.Event()
    heap.at(time.monotonic() + 3600, lambda _: None)
    heap.at(time.monotonic() + 0.001, lambda _: done.set())
    async with asyncio.timeout(30):
        await done.wait()


async def test_a_pile_of_work_lets_the_loop_in_between() -> None:
    clock, calls = Clock(), []

    def slow(due_s: float) -> None:
        clock.now += 0.001
        calls.append(due_s)

    heap = TimerHeap(asyncio.get_running_loop(), clock)
    for _ in range(64):
        heap.at(0.0, slow)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(calls) < 64
    while len(heap):
        await asyncio.sleep(0)
    assert 64 == len(calls)


async def test_closed_it_calls_nobody() -> None:
    heap, called = TimerHeap(asyncio.get_running_loop()), []
    heap.at(0.0, called.append)
    heap.close()
    heap.at(0.0, called.append)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [] == called


async def test_it_sleeps_a_millisecond_rather_than_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, sleeps = asyncio.get_running_loop(), []
    monkeypatch.setattr(loop, "call_later", lambda delay_s, _: sleeps.append(delay_s))
    heap = TimerHeap(loop, Clock())
    heap.at(100.2, lambda _: None)
    heap._handle = None
    heap.at(100.0001, lambda _: None)
    assert [0.2, 0.001] == pytest.approx(sleeps)
