"""The tool's way to the running handler: one request at a time, over the gateway's own bus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from module_gateway.bus.address import Address
from module_gateway.bus.link import Link
from module_gateway.bus.location import find_bus
from module_gateway.bus.mqtt import MqttBus
from module_gateway.bus.port import Bus
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import BusError, GatewayError
from module_gateway.runtime.settings import BusSettings
from module_gateway.runtime.tasks import start_task, stop_tasks

REACH_LIMIT_S: Final = 10.0
"""For the bus and the handler's first heartbeat: 500 ms apart, on a starved machine."""

ANSWER_LIMIT_S: Final = 30.0
"""For one answer: a commit of some hundred entries, on a disk that others keep busy."""


class RefusedError(GatewayError):
    """The handler does not do it; its own words say why."""


class HandlerLine:
    """Asks the handler of one store. Also the listener of its link. Use `handler_line`."""

    def __init__(self, bus: Bus, settings: BusSettings, store_id: int) -> None:
        self._link = Link(bus, bus_pb2.TOOL, settings, self)
        self._store_id = store_id
        self._requests = 0
        self._asked: bus_pb2.Message | None = None
        self._told: set[Address] = set()
        self._answer: bus_pb2.BufferAnswer | None = None
        self._is_lost = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Stay on the bus until cancelled."""
        await self._link.run()

    async def ask(self, request: bus_pb2.BufferRequest) -> None:
        """Let the handler do it; returns when it is done and committed.

        Every handler that is or comes on the bus is asked: only the one of this store answers.

        Raises:
            RefusedError: nothing of it was done.
            BusError: nobody knows whether it was done.
        """
        self._requests += 1
        message = bus_pb2.Message()
        message.buffer_request.CopyFrom(request)
        message.buffer_request.store_id = self._store_id
        message.buffer_request.request = self._requests
        self._asked, self._answer = message, None
        self._told.clear()
        for peer in self._link.peers():
            self._tell(peer)
        answer = await self._wait()
        self._asked = None
        if answer.refusal:
            raise RefusedError(answer.refusal)

    async def _wait(self) -> bus_pb2.BufferAnswer:
        try:
            async with asyncio.timeout(REACH_LIMIT_S):
                while not self._told:
                    await self._news()
            async with asyncio.timeout(ANSWER_LIMIT_S):
                while self._answer is None:
                    if self._is_lost:
                        raise BusError("the handler or the bus went away before it answered")
                    await self._news()
        except TimeoutError:
            what = "answered" if self._told else "was heard on the bus"
            raise BusError(f"no handler of this store {what}") from None
        return self._answer

    async def _news(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _tell(self, peer: Address) -> None:
        is_new = peer.kind == bus_pb2.MODULE_HANDLER and peer not in self._told
        if is_new and self._asked is not None and self._link.send(peer, self._asked):
            self._told.add(peer)

    # What the link tells

    def link_up(self) -> None:
        """See `bus.link.LinkListener`."""
        self._changed.set()

    def link_down(self, reason: str) -> None:
        """See `bus.link.LinkListener`. What was asked may be lost."""
        del reason
        self._is_lost = bool(self._told)
        self._changed.set()

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        """See `bus.link.LinkListener`."""
        del presence
        self._tell(peer)
        self._changed.set()

    def peer_lost(self, peer: Address) -> None:
        """See `bus.link.LinkListener`."""
        self._is_lost = self._is_lost or peer in self._told
        self._changed.set()

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        """See `bus.link.LinkListener`."""
        del sender
        for message in messages:
            answer = message.buffer_answer
            is_ours = (answer.store_id, answer.request) == (self._store_id, self._requests)
            if is_ours and message.WhichOneof("body") == "buffer_answer":
                self._answer = answer
        self._changed.set()


@asynccontextmanager
async def handler_line(
    settings: BusSettings, state_dir: Path, environ: Mapping[str, str], store_id: int
) -> AsyncIterator[HandlerLine]:
    """A line to the handler of the store `store_id`, on the bus that its gateway uses.

    Raises:
        ConfigError: the bus' address cannot be right.
    """
    location = find_bus(settings, state_dir, environ)
    line = HandlerLine(MqttBus(location, f"buffer-{os.getpid()}"), settings, store_id)
    running = start_task(line.run(), "buffer-line")
    try:
        yield line
    finally:
        await stop_tasks([running])
