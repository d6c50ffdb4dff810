"""A scripted control plane for one vehicle: of the gateway it imports the generated messages only.

It does what the existing external server does in the good case (fleet-protocol 4.4), refuses as
often as it is told, and says "I drop this session" when it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiomqtt

from fleet_lab.cancelling import cancel_all
from module_gateway.protocol import external_protocol_pb2 as pb

CONNECTING, RUNNING = pb.Status.DeviceState.Value("CONNECTING"), 1


@dataclass
class ScriptedServer:
    """The other side. Fields are what a test sets before and reads after."""

    client: aiomqtt.Client
    prefix: str
    refusals: int = 0
    session_ids: list[str] = field(default_factory=list)
    running: list[bytes] = field(default_factory=list)
    """Payloads of the RUNNING statuses of the present session."""
    roles: set[str] = field(default_factory=set)
    """Of every status that ever came."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _awaited: int = 0
    _session: str = ""
    _commands: int = 0
    _opening: list[pb.Status] = field(default_factory=list)

    async def serve(self) -> None:
        """Answer until cancelled."""
        async for message in self.client.messages:
            envelope = pb.ExternalClient.FromString(bytes(message.payload))
            match envelope.WhichOneof("MessageType"):
                case "connect":
                    await self._connect(envelope.connect)
                case "status" if envelope.status.sessionId == self._session:
                    await self._status(envelope.status)
            self.changed.set()

    async def wait_for_running(self, limit_s: float) -> None:
        """Wait until a RUNNING status of a session arrives that is not known yet."""
        self.running.clear()
        async with asyncio.timeout(limit_s):
            while not self.running:
                self.changed.clear()
                await self.changed.wait()

    async def drop_session(self) -> None:
        """Say that the session is over, as the existing server does."""
        self._session = ""
        self.running.clear()
        await self.client.publish(f"{self.prefix}/external_server_disconnect", b"", qos=1)

    async def _connect(self, connect: pb.Connect) -> None:
        self.session_ids.append(connect.sessionId)
        reply = pb.ExternalServer()
        reply.connectResponse.sessionId = connect.sessionId
        if self.refusals > 0:
            self.refusals -= 1
            reply.connectResponse.type = pb.ConnectResponse.ALREADY_LOGGED
        else:
            self._session, self._awaited = connect.sessionId, len(connect.devices)
            self._opening.clear()
        await self._publish(reply)

    async def _status(self, status: pb.Status) -> None:
        self.roles.add(status.deviceStatus.device.deviceRole)
        reply = pb.ExternalServer()
        reply.statusResponse.sessionId = status.sessionId
        reply.statusResponse.messageCounter = status.messageCounter
        await self._publish(reply)
        if status.deviceState == RUNNING:
            self.running.append(status.deviceStatus.statusData)
        elif status.deviceState == CONNECTING and self._awaited:
            self._opening.append(status)
            if len(self._opening) == self._awaited:
                self._awaited = 0
                for opening in self._opening:
                    await self._send_empty_command(opening)

    async def _send_empty_command(self, status: pb.Status) -> None:
        command = pb.ExternalServer()
        command.command.sessionId = status.sessionId
        command.command.messageCounter = self._commands
        command.command.deviceCommand.device.CopyFrom(status.deviceStatus.device)
        command.command.deviceCommand.device.priority = 0
        self._commands += 1
        await self._publish(command)

    async def _publish(self, message: pb.ExternalServer) -> None:
        topic = f"{self.prefix}/external_server"
        await self.client.publish(topic, message.SerializeToString(), qos=1)


@asynccontextmanager
async def scripted_server(
    port: int, company: str, vehicle: str, refusals: int = 0
) -> AsyncIterator[ScriptedServer]:
    """One that serves this vehicle at the broker on this port of the loopback."""
    async with aiomqtt.Client("127.0.0.1", port, identifier="scripted") as client:
        server = ScriptedServer(client, f"{company}/{vehicle}", refusals)
        await client.subscribe(f"{server.prefix}/module_gateway", qos=1)
        serving = asyncio.create_task(server.serve(), name="scripted server")
        try:
            yield server
        finally:
            await cancel_all(serving)
            await asyncio.gather(serving, return_exceptions=True)
