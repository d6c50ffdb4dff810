"""What the gateway needs of a message bus, whoever carries it.

Two implementations pass the same contract tests: `mqtt.MqttBus` on a real broker and
`memory.MemoryBus` inside one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from module_gateway.protocol.errors import BusError

Settle = Callable[[BusError | None], None]
"""Called once: None, the bus has confirmed; else why nobody knows whether it arrived."""


class BusListener(Protocol):
    """Who is told what the bus does. Called in the event loop's thread; must not block."""

    def bus_up(self) -> None:
        """Connected and subscribed: what is published from now on can be heard."""

    def bus_down(self, reason: str) -> None:
        """The connection is gone. Anything under way may or may not have arrived."""

    def bus_message(self, topic: str, payload: bytes) -> None:
        """A message on one of the subscribed topics, in the order of its publisher."""


class Bus(Protocol):
    """Publishes and subscribes bytes, at least once while the connection holds.

    Nothing here needs retained messages, wills, shared subscriptions or MQTT 5.
    """

    async def run(self, topics: tuple[str, ...], listener: BusListener) -> None:
        """Connect, subscribe to `topics`, tell `listener`, reconnect for ever until cancelled."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Hand one message to the bus; returns when the bus has confirmed it.

        Messages published one after the other to a topic arrive in that order.

        Raises:
            BusError: not connected, or the connection broke before the confirmation.
        """

    def send(self, topic: str, payload: bytes, settle: Settle) -> None:
        """Like `publish` without a task; the caller bounds what is under way.

        `settle` is called later in the event loop's thread, and must not raise.

        Raises:
            BusError: not connected, or it cannot be carried; `settle` is not called then.
        """


def settle_into(confirmation: asyncio.Future[None]) -> Settle:
    """For who would rather wait; a cancelled wait disturbs nobody."""

    def settle(error: BusError | None) -> None:
        if confirmation.done():
            return
        if error is None:
            confirmation.set_result(None)
        else:
            confirmation.set_exception(error)

    return settle
