from __future__ import annotations

import asyncio

import pytest

from module_gateway.bus import metrics
from module_gateway.bus.edge import notify


def test_what_a_listener_raises_is_counted_and_goes_no_further() -> None:
    def broken(text: str) -> None:
        raise ValueError(text)

    before = metrics.LISTENER_FAILURES._value.get()
    assert not notify(broken, "no")
    assert before + 1 == metrics.LISTENER_FAILURES._value.get()


def test_a_good_listener_gets_its_arguments() -> None:
    heard: list[tuple[str, int]] = []

    def listener(topic: str, *, count: int) -> None:
        heard.append((topic, count))

    assert notify(listener, "topic", count=2)
    assert [("topic", 2)] == heard


def test_cancellation_and_exit_are_no_failures_of_a_listener() -> None:
    def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        notify(cancelled)
