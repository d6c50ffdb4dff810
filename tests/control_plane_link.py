"""A broker of one page: what the control plane publishes, and a way to speak to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from module_gateway.bus.port import BusListener
from module_gateway.control_plane.server import ControlPlane
from module_gateway.protocol.errors import BusError
from module_gateway.protocol.external import (
    ClientMessage,
    Command,
    CommandResponse,
    ConnectResponse,
    DeviceState,
    ServerMessage,
    StatusResponse,
    decode_server_message,
    encode,
)
from module_gateway.runtime.settings import ControlPlaneSettings, Settings
from tests.control_plane_script import BUTTON, SESSION, connect, status

VAN = "acme/van"


class ScriptedLink:
    """Has the shape of `Bus`. `sent` holds everything published, in order."""

    def __init__(self) -> None:
        self.listener: BusListener | None = None
        self.sent: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.topics: tuple[str, ...] = ()
        self.is_up = False
        self.holds: dict[str, asyncio.Event] = {}

    async def run(self, topics: tuple[str, ...], listener: BusListener) -> None:
        self.topics, self.listener = topics, listener
        self.go_up()
        await asyncio.Event().wait()

    async def publish(self, topic: str, payload: bytes) -> None:
        if not self.is_up:
            raise BusError("down")
        if topic in self.holds:
            await self.holds[topic].wait()
        self.sent.put_nowait((topic, payload))

    def go_up(self) -> None:
        self.is_up = True
        self.listener.bus_up()

    def go_down(self) -> None:
        self.is_up = False
        self.listener.bus_down("cut")

    def receive(self, message: ClientMessage | bytes, vehicle: str = VAN) -> None:
        payload = message if isinstance(message, bytes) else encode(message)
        self.listener.bus_message(f"{vehicle}/module_gateway", payload)

    async def next(self, vehicle: str = VAN) -> ServerMessage | None:
        """The next message to a vehicle; None stands for the disconnect notification."""
        topic, payload = await asyncio.wait_for(self.sent.get(), 30)
        if topic == f"{vehicle}/external_server_disconnect":
            assert payload == b""
            return None
        assert topic == f"{vehicle}/external_server"
        return decode_server_message(payload)

    async def run_sequence(self, vehicle: str = VAN, session_id: str = SESSION) -> None:
        """One device, to RUNNING: its next status counter is 2."""
        self.receive(connect(session_id=session_id), vehicle)
        assert isinstance(await self.next(vehicle), ConnectResponse)
        first = status(1, BUTTON, DeviceState.CONNECTING, session_id=session_id)
        self.receive(first, vehicle)
        assert isinstance(await self.next(vehicle), StatusResponse)
        command = await self.next(vehicle)
        assert isinstance(command, Command)
        self.receive(CommandResponse(session_id, 0, command.counter), vehicle)


@asynccontextmanager
async def running(modules=None, store=None, **settings):
    """A control plane at work on a scripted link; stopped cleanly at the end."""
    section = ControlPlaneSettings(**settings)
    link = ScriptedLink()
    control_plane = ControlPlane(
        Settings(control_plane_settings=section), modules or {}, link=link, store=store
    )
    stop = asyncio.Event()
    task = asyncio.create_task(control_plane.run(stop))
    await asyncio.wait_for(control_plane.ready(), 30)
    try:
        yield control_plane, link
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)
