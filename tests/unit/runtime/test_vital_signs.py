from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from module_gateway.runtime.notify import Notifier
from module_gateway.runtime.vital_signs import VitalSigns


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def pair() -> AsyncIterator[tuple[VitalSigns, Notifier, Clock]]:
    """The supervisor's end, and the notifier of a process that inherited the other."""
    clock = Clock()
    signs = VitalSigns(10.0, clock)
    inherited = os.dup(signs.their_fd)
    environment = {**signs.environment, "MODULE_GATEWAY_NOTIFY_FD": str(inherited)}
    notifier = Notifier.from_environment(environment, os.getpid())
    signs.listen()
    try:
        yield signs, notifier, clock
    finally:
        notifier.close()
        signs.close()


def test_a_process_is_told_where_to_say_it_and_how_long_it_may_be_silent() -> None:
    signs = VitalSigns(10.0)
    try:
        assert signs.environment == {
            "MODULE_GATEWAY_NOTIFY_FD": str(signs.their_fd),
            "WATCHDOG_USEC": "10000000",
        }
    finally:
        signs.close()


async def test_a_sign_of_life_ends_the_silence(pair: tuple[VitalSigns, Notifier, Clock]) -> None:
    signs, notifier, clock = pair
    clock.now = 2.0
    assert not signs.look()
    assert signs.silence.silent_s == 2.0

    notifier.say("stands still")
    async with asyncio.timeout(10):
        while signs.status != "stands still":
            await asyncio.sleep(0)
    assert signs.silence.silent_s == 2.0

    notifier.alive()
    async with asyncio.timeout(10):
        while signs.silence.silent_s:
            await asyncio.sleep(0)


async def test_silence_counts_from_the_beginning(pair: tuple[VitalSigns, Notifier, Clock]) -> None:
    signs, _, clock = pair
    for clock.now in range(11):
        signs.look()
    signs.begin()

    assert signs.silence.silent_s == 0.0


async def test_a_process_that_has_ended_is_read_no_more(
    pair: tuple[VitalSigns, Notifier, Clock],
) -> None:
    signs, notifier, _ = pair
    notifier.alive()
    notifier.close()
    await asyncio.sleep(0)
    signs.close()
    signs.close()


async def test_whatever_else_is_said_is_no_sign_of_life() -> None:
    signs = VitalSigns(10.0)
    with socket.socket(fileno=os.dup(signs.their_fd)) as process:
        signs.listen()
        signs.silence.silent_s = 3.0
        process.send(b"WATCHDOG=10\nX=1\n\xff\xff")
        process.send(b"STATUS=end")
        async with asyncio.timeout(10):
            while signs.status != "end":
                await asyncio.sleep(0)
        assert signs.silence.silent_s == 3.0
        signs.close()
