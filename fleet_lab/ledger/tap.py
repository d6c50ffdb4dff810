"""A passive listener on the upstream broker: sees both directions of every session.

`TapDecoder` is pure: MQTT message in, ledger events out. `MqttTap` owns the connection. The tap
never publishes; it must be connected before the devices start, or it misses what went by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final

import aiomqtt

from fleet_lab.cancelling import cancel_all
from fleet_lab.errors import LabError
from fleet_lab.ledger.events import Accepted, Acknowledged, Opened, TapEvent, Upstream
from fleet_lab.ledger.rules import read_label
from module_gateway.protocol import external
from module_gateway.protocol.errors import RemoteProtocolError

FROM_GATEWAY: Final = "module_gateway"
TO_GATEWAY: Final = "external_server"
"""Last levels of the two topics (fleet-protocol 4.2)."""
_LEVELS: Final = 3
CONNECT_TIMEOUT_S: Final = 5.0
MAX_QUEUED: Final = 100_000
"""Messages that wait for the loop; the library drops and logs what comes beyond."""
RECONNECT_S: Final = 0.1
"""The broker may be what a scenario stops: come back at once, whatever is missed is lost."""


class TapDecoder:
    """From MQTT messages to events. Undecodable ones are counted and have no effect."""

    def __init__(self) -> None:
        self.undecodable = 0

    def decode(self, topic: str, payload: bytes, at_s: float) -> TapEvent | None:
        """The event of one message, None if it says nothing to a ledger."""
        levels = topic.split("/")
        if len(levels) != _LEVELS:
            return None
        vehicle = f"{levels[0]}/{levels[1]}"
        try:
            match levels[2]:
                case "module_gateway":
                    return _from_gateway(vehicle, external.decode_client_message(payload), at_s)
                case "external_server":
                    return _to_gateway(vehicle, external.decode_server_message(payload), at_s)
        except RemoteProtocolError:
            self.undecodable += 1
        return None


def _from_gateway(vehicle: str, message: external.ClientMessage, at_s: float) -> TapEvent | None:
    match message:
        case external.Connect():
            return Opened(vehicle, message.session_id, at_s)
        case external.Status():
            label = read_label(message.status)
            return Upstream(
                vehicle,
                message.session_id,
                message.counter,
                message.device.identity,
                label.number,
                message.state,
                at_s,
                message.error,
                message.position,
                label.device_id,
                message.is_replayed,
            )
        case external.CommandResponse():
            return None


def _to_gateway(vehicle: str, message: external.ServerMessage, at_s: float) -> TapEvent | None:
    match message:
        case external.ConnectResponse():
            if message.response != external.ConnectResponseType.OK:
                return None
            return Accepted(vehicle, message.session_id, at_s, dict(message.applied))
        case external.StatusResponse():
            return Acknowledged(vehicle, message.session_id, message.counter, at_s)
        case external.Command():
            return None


class MqttTap:
    """Listens until it is stopped, over any number of broker restarts.

    Args:
        company, vehicle: names, or "+" for all.
        heard: called in the loop with every event.
    """

    def __init__(
        self,
        host: str,
        port: int,
        heard: Callable[[TapEvent], None],
        *,
        company: str = "+",
        vehicle: str = "+",
    ) -> None:
        self._host = host
        self._port = port
        self._heard = heard
        base = f"{company}/{vehicle}"
        self._topics = [(f"{base}/{level}", 1) for level in (FROM_GATEWAY, TO_GATEWAY)]
        self._is_stopped = False
        self.decoder = TapDecoder()
        self.breaks = 0
        """How often the connection to the broker was lost: what went by meanwhile was not seen."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MqttTap]:
        """Connected and subscribed on entry, stopped on exit.

        Raises:
            LabError: the broker is not there.
        """
        self._is_stopped = False
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(ready), name="tap")
        try:
            await ready
            yield self
        finally:
            self._is_stopped = True
            await cancel_all(task)
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, ready: asyncio.Future[None]) -> None:
        while not self._is_stopped:  # aiomqtt may answer a cancellation with an error of its own
            try:
                await self._listen(ready)
            except aiomqtt.MqttError as error:
                if not ready.done():
                    where = f"{self._host}:{self._port}"
                    ready.set_exception(LabError(f"no MQTT broker to tap at {where} ({error})"))
                    return
                self.breaks += 1
                await asyncio.sleep(RECONNECT_S)

    async def _listen(self, ready: asyncio.Future[None]) -> None:
        client = aiomqtt.Client(
            self._host,
            self._port,
            timeout=CONNECT_TIMEOUT_S,
            max_queued_incoming_messages=MAX_QUEUED,
        )
        async with client:
            await client.subscribe(self._topics)
            if not ready.done():
                ready.set_result(None)
            async for message in client.messages:
                self._hear(message)

    def _hear(self, message: aiomqtt.Message) -> None:
        event = self.decoder.decode(message.topic.value, bytes(message.payload), monotonic())
        if event is not None:
            self._heard(event)
