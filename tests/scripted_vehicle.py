"""A vehicle that shares nothing with the gateway but the schema: generated classes and MQTT."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiomqtt import Client, MqttError

from module_gateway.protocol import external_protocol_pb2 as external
from module_gateway.protocol import internal_protocol_pb2 as internal

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
WAIT_S = 30.0


class DeviceName(NamedTuple):
    """What a device is called on the wire."""

    module: int
    device_type: int
    role: str
    name: str = ""
    priority: int = 0

    def write_to(self, message: internal.Device) -> None:
        message.module = self.module
        message.deviceType = self.device_type
        message.deviceRole = self.role
        message.deviceName = self.name
        message.priority = self.priority


BUTTON = DeviceName(1000, 0, "left_button", "button1", 1)
LAMP = DeviceName(1001, 0, "lamp", "lamp1", 2)


class ScriptedVehicle:
    """Sends exactly what a test says and hands over exactly what it got."""

    def __init__(self, client: Client, company: str, vehicle: str) -> None:
        self._client = client
        self.company, self.vehicle = company, vehicle
        self._base = f"{company}/{vehicle}"
        self.session_id = ""
        self.counter = 0
        self.lost = asyncio.Event()
        """The broker has gone."""
        self._received: asyncio.Queue[external.ExternalServer | None] = asyncio.Queue()

    async def send(self, message: external.ExternalClient) -> None:
        payload = message.SerializeToString()
        await self._client.publish(f"{self._base}/module_gateway", payload, qos=1)

    async def receive(self) -> external.ExternalServer | None:
        """The next message; None is the disconnect notification."""
        return await asyncio.wait_for(self._received.get(), WAIT_S)

    async def send_connect(
        self, session_id: str, devices: Sequence[DeviceName], capabilities: Sequence[str] = ()
    ) -> None:
        self.session_id, self.counter = session_id, 0
        message = external.ExternalClient()
        message.connect.sessionId = session_id
        message.connect.company, message.connect.vehicleName = self.company, self.vehicle
        for device in devices:
            device.write_to(message.connect.devices.add())
        message.connect.capabilities.extend(capabilities)
        await self.send(message)

    async def send_status(
        self,
        device: DeviceName,
        payload: bytes,
        state: int = external.Status.RUNNING,
        sequence: int = 0,
        error: bytes | None = None,
        *,
        replayed: bool = False,
        live: bool = False,
    ) -> int:
        """Publish the session's next status; returns its counter."""
        self.counter += 1
        message = external.ExternalClient()
        status = message.status
        status.sessionId, status.messageCounter = self.session_id, self.counter
        status.deviceState = state
        device.write_to(status.deviceStatus.device)
        status.deviceStatus.statusData = payload
        if sequence:
            status.sequence, status.store_id = sequence, 77
        if error is not None:
            status.errorMessage = error
        status.replayed, status.live = replayed, live
        await self.send(message)
        return self.counter

    async def send_answer(self, counter: int, response: int = 0) -> None:
        message = external.ExternalClient()
        message.commandResponse.sessionId = self.session_id
        message.commandResponse.type = response
        message.commandResponse.messageCounter = counter
        await self.send(message)

    async def receive_connect_response(self) -> external.ConnectResponse:
        message = await self.receive()
        assert message is not None
        assert message.WhichOneof("MessageType") == "connectResponse"
        assert message.connectResponse.sessionId == self.session_id
        return message.connectResponse

    async def receive_ack(self) -> int:
        message = await self.receive()
        assert message is not None
        assert message.WhichOneof("MessageType") == "statusResponse"
        assert message.statusResponse.sessionId == self.session_id
        return message.statusResponse.messageCounter

    async def receive_command(self) -> external.Command:
        message = await self.receive()
        assert message is not None
        assert message.WhichOneof("MessageType") == "command"
        assert message.command.sessionId == self.session_id
        return message.command

    async def run_sequence(
        self, session_id: str, devices: Sequence[DeviceName] = (BUTTON,), payload: bytes = b"{}"
    ) -> None:
        """The whole connect sequence in the order of the specification."""
        await self.send_connect(session_id, devices)
        assert (await self.receive_connect_response()).type == external.ConnectResponse.OK
        for device in devices:
            await self.send_status(device, payload, external.Status.CONNECTING)
        acknowledged = [await self.receive_ack() for _ in devices]
        assert acknowledged == list(range(1, len(devices) + 1))
        commands = [await self.receive_command() for _ in devices]
        for command in commands:
            await self.send_answer(command.messageCounter)

    async def _listen(self) -> None:
        with suppress(MqttError):
            await self._sort()
        self.lost.set()

    async def _sort(self) -> None:
        async for message in self._client.messages:
            if message.topic.value.endswith("_disconnect"):
                assert message.payload == b""
                self._received.put_nowait(None)
            else:
                envelope = external.ExternalServer.FromString(message.payload)
                self._received.put_nowait(envelope)


@asynccontextmanager
async def scripted_vehicle(
    port: int, company: str = "acme", vehicle: str = "van"
) -> AsyncIterator[ScriptedVehicle]:
    """A vehicle that is connected to the broker and subscribed to what concerns it."""
    options = {"identifier": f"{company}/{vehicle}", "socket_options": [NODELAY]}
    async with Client("127.0.0.1", port, **options) as client:
        base = f"{company}/{vehicle}"
        await client.subscribe(
            [(f"{base}/external_server", 1), (f"{base}/external_server_disconnect", 1)]
        )
        scripted = ScriptedVehicle(client, company, vehicle)
        listening = asyncio.create_task(scripted._listen())
        try:
            yield scripted
        finally:
            listening.cancel()
            await asyncio.wait({listening})
