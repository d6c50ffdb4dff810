"""The bus inside one process: for tests, with outages and losses at will.

It keeps what `port.Bus` promises and what a real broker does besides: a message reaches its
subscribers in a later turn of the event loop, an outage loses what is under way, and nobody
remembers a message for a subscriber who is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from module_gateway.bus.edge import notify
from module_gateway.bus.port import BusListener, Settle, settle_into
from module_gateway.protocol.errors import BusError


class MemoryBroker:
    """Joins all buses that come from it. It is running when it is made.

    Attributes:
        loses: asked for each published (topic, payload); True loses that message although it
            is confirmed, as a broker does with a subscriber whose queue is full.
    """

    def __init__(self) -> None:
        self.loses: Callable[[str, bytes], bool] | None = None
        self._connections: list[_Connection] = []
        self._running = asyncio.Event()
        self._running.set()

    @property
    def is_running(self) -> bool:
        """Whether messages get through."""
        return self._running.is_set()

    def bus(self) -> MemoryBus:
        """A new client of this broker."""
        return MemoryBus(self)

    def stop(self) -> None:
        """Begin an outage: every connection breaks, what is under way is lost."""
        self._running.clear()
        for connection in self._connections:
            connection.lose("the memory broker was stopped")
        self._connections.clear()

    def start(self) -> None:
        """End the outage: clients connect again by themselves."""
        self._running.set()

    async def attach(self, topics: tuple[str, ...], listener: BusListener) -> _Connection:
        """Wait until the broker runs, then connect and subscribe."""
        await self._running.wait()
        loop = asyncio.get_running_loop()
        connection = _Connection(frozenset(topics), listener, loop.create_future())
        self._connections.append(connection)
        return connection

    def detach(self, connection: _Connection) -> None:
        """This client has gone on its own account."""
        if connection in self._connections:
            self._connections.remove(connection)
        connection.lose("gone")

    def distribute(self, topic: str, payload: bytes) -> None:
        """Bring one message under way to everybody who subscribed its topic."""
        if self.loses is not None and self.loses(topic, payload):
            return
        loop = asyncio.get_running_loop()
        for connection in self._connections:
            if topic in connection.topics:
                loop.call_soon(connection.deliver, topic, payload)


@dataclass(eq=False, slots=True)
class _Connection:
    """One client's subscription. `lost` gets the reason when it ends."""

    topics: frozenset[str]
    listener: BusListener
    lost: asyncio.Future[str]

    def deliver(self, topic: str, payload: bytes) -> None:
        if not self.lost.done():
            notify(self.listener.bus_message, topic, payload)

    def confirm(self, settle: Settle) -> None:
        settle(BusError("the bus broke before it confirmed") if self.lost.done() else None)

    def lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


class MemoryBus:
    """`port.Bus` on a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._connection: _Connection | None = None

    async def run(self, topics: tuple[str, ...], listener: BusListener) -> None:
        """See `port.Bus`. One `run` at a time."""
        while True:
            connection = await self._broker.attach(topics, listener)
            self._connection = connection
            try:
                notify(listener.bus_up)
                reason = await connection.lost
            finally:
                self._connection = None
                self._broker.detach(connection)
            notify(listener.bus_down, reason)

    async def publish(self, topic: str, payload: bytes) -> None:
        """See `port.Bus`."""
        confirmation: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.send(topic, payload, settle_into(confirmation))
        await confirmation

    def send(self, topic: str, payload: bytes, settle: Settle) -> None:
        """See `port.Bus`. The confirmation comes with a later turn, as from a broker."""
        connection = self._connection
        if connection is None or connection.lost.done():
            raise BusError("the bus is down")
        self._broker.distribute(topic, payload)
        asyncio.get_running_loop().call_soon(connection.confirm, settle)
