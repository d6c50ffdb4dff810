"""An external server of its own making: it imports the generated protobuf classes and aiomqtt only.

It follows the specification's description of the existing external server (4.4-4.9, 7.1), and
every quirk of it is a switch. So a misunderstanding in the gateway's own protocol code cannot
hide in the peer that tests it.

    async with ScriptedPeer("127.0.0.1", port, Script(timeout_s=1.0)) as peer:
        await peer.until(lambda: peer.is_running)
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import aiomqtt

from module_gateway.protocol import external_protocol_pb2 as pb
from module_gateway.protocol import internal_protocol_pb2 as internal

Key = tuple[int, int, str]
State = pb.Status.DeviceState

_NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


@dataclass
class Script:
    """How the peer behaves. The defaults are those of a well-behaved external server."""

    timeout_s: float = 2.0
    """Waits in the sequence, as the external server's `timeout`."""
    sleep_s: float = 0.5
    """Deaf after a session has ended."""
    is_silent: bool = False
    wrong_session: bool = False
    already_logged: int = 0
    """So many Connects are refused."""
    wrong_kind: bool = False
    unknown_roles: frozenset[str] = frozenset()
    unacknowledged_roles: frozenset[str] = frozenset()
    """Statuses of these are taken and never acknowledged."""
    acks_backwards: bool = False
    acks_twice: bool = False
    early_message_leaves_one_behind: bool = True
    drop_after_statuses: int | None = None
    """End the session by itself after so many RUNNING statuses."""
    commands_in_foreign_module: bool = False
    garbage: bool = False
    """Undecodable payloads before everything else."""
    is_restartable: bool = True
    capabilities: tuple[str, ...] = ()
    """Of the optional extension; the existing external server has none."""


@dataclass
class Taken:
    """One status that the peer forwarded to its modules."""

    session: str
    state: int
    counter: int
    role: str
    status: bytes
    error: bytes | None
    sequence: int = 0
    is_replayed: bool = False
    is_live: bool = False


@dataclass
class ScriptedPeer:
    """One car of an external server."""

    host: str
    port: int
    script: Script = field(default_factory=Script)
    company: str = "acme"
    vehicle: str = "van"
    client_options: dict[str, Any] = field(default_factory=dict)

    connects: list[pb.Connect] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    ignored: list[pb.Status] = field(default_factory=list)
    responses: list[pb.CommandResponse] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    is_running: bool = False

    def __post_init__(self) -> None:
        self._news = asyncio.Event()
        self._queue: deque[pb.ExternalClient] = deque()
        self._arrived = asyncio.Event()
        self._client: aiomqtt.Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_killed = False
        self._session = ""
        self._devices: dict[Key, internal.Device] = {}
        self._command_counter = 0
        self._is_one_behind = False
        self._running_statuses = 0
        self._acks: list[bytes] = []
        self._command_open = 0
        self.listening = asyncio.Event()

    # life

    async def __aenter__(self) -> Self:
        self.start()
        await asyncio.wait_for(self.listening.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    def start(self) -> None:
        self.listening.clear()
        self._is_killed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="scripted-peer")

    async def kill(self) -> None:
        """Gone without a word, as after SIGKILL."""
        assert self._task is not None
        self._is_killed = True
        await _end(self._task)
        with suppress(asyncio.CancelledError):
            self._task.result()
        self.is_running = False
        self._session, self._client = "", None

    async def restart(self) -> None:
        await self.kill()
        self.start()
        await asyncio.wait_for(self.listening.wait(), 30)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until something that happened makes `condition` true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def notify_disconnect(self) -> None:
        await self._publish_raw("external_server_disconnect", b"")

    async def drop(self) -> None:
        """End the running session, as the external server does on any fault."""
        self._queue.append(None)  # type: ignore[arg-type]
        self._arrived.set()

    async def send_command(self, role: str, payload: bytes, *, counter: int | None = None) -> int:
        """Command the announced device `role`."""
        device = next(each for each in self._devices.values() if each.deviceRole == role)
        return await self._command(device, payload, counter)

    async def send(self, message: pb.ExternalServer) -> None:
        await self._publish_raw("external_server", message.SerializeToString())

    # inside

    def _tell(self) -> None:
        self._news.set()

    async def _publish_raw(self, topic: str, payload: bytes) -> None:
        assert self._client is not None
        await self._client.publish(f"{self.company}/{self.vehicle}/{topic}", payload, qos=1)

    async def _run(self) -> None:
        while not self._is_killed:  # aiomqtt may answer a cancellation with an error of its own
            try:
                await self._connected()
            except aiomqtt.MqttError:
                self.is_running = False
                await asyncio.sleep(0.1)  # the broker is away; nothing announces its return

    async def _connected(self) -> None:
        client = aiomqtt.Client(
            self.host, self.port, timeout=5, socket_options=_NODELAY, **self.client_options
        )
        try:
            await self._serve_on(client)
        finally:
            await _bury(client)

    async def _serve_on(self, client: aiomqtt.Client) -> None:
        topic = f"{self.company}/{self.vehicle}/module_gateway"
        async with client:
            self._client = client
            self._queue.clear()
            await client.subscribe(topic, qos=1)
            self.listening.set()
            self._tell()
            reader = asyncio.ensure_future(self._read(client))
            serving = asyncio.ensure_future(self._serve())
            try:
                done, _ = await asyncio.wait((reader, serving), return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            finally:
                await _end(reader, serving)
                await asyncio.gather(reader, serving, return_exceptions=True)

    async def _read(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            envelope = pb.ExternalClient()
            envelope.ParseFromString(message.payload)
            self._queue.append(envelope)
            self._arrived.set()
            if envelope.WhichOneof("MessageType") == "connect":
                self.connects.append(envelope.connect)
            self._tell()

    async def _next(self, timeout_s: float | None) -> pb.ExternalClient | None:
        """The next message, None for `drop` or when time is up."""
        async with asyncio.timeout(timeout_s):
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            return self._queue.popleft()

    async def _serve(self) -> None:
        while True:
            try:
                message = await self._next(self.script.timeout_s)
            except TimeoutError:
                await self._go_deaf()  # it repeats this cycle while nobody connects
                continue
            if message is None or message.WhichOneof("MessageType") != "connect":
                continue
            try:
                cause = await self._session_of(message.connect)
            except TimeoutError:
                cause = "timeout"
            self.is_running = False
            self._session = ""
            self._devices.clear()
            self.ended.append(cause)
            self._tell()
            if cause == "ignored":
                continue
            await self._go_deaf()

    async def _go_deaf(self) -> None:
        await self.notify_disconnect()
        await asyncio.sleep(self.script.sleep_s)  # what arrives meanwhile is thrown away
        self._queue.clear()

    async def _session_of(self, connect: pb.Connect) -> str:  # noqa: PLR0911
        script = self.script
        if script.is_silent:
            return "ignored"
        if script.garbage:
            await self._publish_raw("external_server", b"\xff\xff\xff")
            await self._publish_raw("external_server", b"")
        if not connect.devices:
            self.violations.append("empty Connect")
            return "empty"
        answer = pb.ExternalServer()
        answer.connectResponse.sessionId = connect.sessionId
        answer.connectResponse.capabilities.extend(script.capabilities)
        if script.already_logged:
            script.already_logged -= 1
            answer.connectResponse.type = pb.ConnectResponse.ALREADY_LOGGED
            await self.send(answer)
            return "ignored"
        if script.wrong_session:
            answer.connectResponse.sessionId = "stranger"
        if script.wrong_kind:
            answer = pb.ExternalServer()
            answer.statusResponse.sessionId = connect.sessionId
        await self.send(answer)
        if script.wrong_kind or script.wrong_session:
            return "ignored"
        self._session = connect.sessionId
        self.sessions.append(connect.sessionId)
        expected = [each for each in connect.devices if self._knows(each)]
        cause = await self._first_statuses(len(expected))
        if cause:
            return cause
        cause = await self._first_commands()
        if cause:
            return cause
        self._is_one_behind = bool(self._queue) and script.early_message_leaves_one_behind
        if self._is_one_behind:
            self.violations.append("a message before the sequence was finalised")
        self.is_running = True
        self._running_statuses = 0
        self._tell()
        return await self._running()

    def _knows(self, device: internal.Device) -> bool:
        return device.deviceRole not in self.script.unknown_roles

    async def _first_statuses(self, missing: int) -> str:
        self._acks.clear()
        while missing:
            message = await self._next(self.script.timeout_s)
            if message is None:
                return "dropped"
            if message.WhichOneof("MessageType") != "status":
                self.violations.append("no status in step 2")
                return "violation"
            status = message.status
            if status.sessionId != self._session or not self._knows(status.deviceStatus.device):
                self.ignored.append(status)
                continue
            if status.deviceState != State.CONNECTING:
                self.violations.append("not CONNECTING in step 2")
                return "violation"
            missing -= 1
            self._take(status)
            await self._acknowledge(status, is_last=not missing)
        return ""

    async def _first_commands(self) -> str:
        devices = list(self._devices.values())
        for device in devices:
            if self.script.commands_in_foreign_module:
                foreign = internal.Device(module=77, deviceRole="x")  # type: ignore[arg-type]
                await self._command(foreign, b"x", None)
                self._command_open += 1
            await self._command(device, b"", None)
        missing = len(devices) + (len(devices) if self.script.commands_in_foreign_module else 0)
        while missing:
            message = await self._next(self.script.timeout_s)
            if message is None:
                return "dropped"
            match message.WhichOneof("MessageType"):
                case "commandResponse":
                    missing -= 1
                    self.responses.append(message.commandResponse)
                case "status":
                    self.violations.append("a status while responses are awaited")
                case _:
                    return "connect in the sequence"
        return ""

    async def _running(self) -> str:
        while True:
            message = await self._next(None)
            if message is None:
                return "dropped"
            match message.WhichOneof("MessageType"):
                case "connect":
                    if message.connect.sessionId != self._session:
                        return "foreign Connect"
                    answer = pb.ExternalServer()
                    answer.connectResponse.sessionId = self._session
                    answer.connectResponse.type = pb.ConnectResponse.ALREADY_LOGGED
                    await self.send(answer)
                case "commandResponse":
                    self.responses.append(message.commandResponse)
                    self._tell()
                case "status":
                    cause = await self._running_status(message.status)
                    if cause:
                        return cause

    async def _running_status(self, status: pb.Status) -> str:
        device = status.deviceStatus.device
        key = (int(device.module), device.deviceType, device.deviceRole)
        if status.sessionId != self._session or not self._knows(device):
            self.ignored.append(status)
            self._tell()
            return ""
        is_known = key in self._devices
        if (status.deviceState == State.CONNECTING) == is_known or (
            status.deviceState == State.ERROR
        ):
            self.violations.append(f"state {status.deviceState}, device known: {is_known}")
            self.ignored.append(status)
            self._tell()
            return ""
        self._take(status)
        if status.deviceState == State.DISCONNECT:
            del self._devices[key]
        await self._acknowledge(status)
        if not self._devices:
            return "last device left"
        self._running_statuses += status.deviceState == State.RUNNING
        limit = self.script.drop_after_statuses
        if limit is not None and self._running_statuses >= limit:
            return "dropped"
        return ""

    def _take(self, status: pb.Status) -> None:
        device = status.deviceStatus.device
        self._devices.setdefault((int(device.module), device.deviceType, device.deviceRole), device)
        error = status.errorMessage if status.HasField("errorMessage") else None
        self.taken.append(
            Taken(
                status.sessionId,
                status.deviceState,
                status.messageCounter,
                device.deviceRole,
                status.deviceStatus.statusData,
                error,
                status.sequence,
                status.replayed,
                status.live,
            )
        )
        self._tell()

    async def _acknowledge(self, status: pb.Status, *, is_last: bool = True) -> None:
        if status.deviceStatus.device.deviceRole in self.script.unacknowledged_roles:
            return
        answer = pb.ExternalServer()
        answer.statusResponse.sessionId = status.sessionId
        answer.statusResponse.messageCounter = status.messageCounter
        self._acks.append(answer.SerializeToString())
        if self.script.acks_backwards and not is_last:
            return
        for ack in reversed(self._acks) if self.script.acks_backwards else self._acks:
            for _ in range(2 if self.script.acks_twice else 1):
                await self._publish_raw("external_server", ack)
        self._acks.clear()

    async def _command(self, device: internal.Device, payload: bytes, counter: int | None) -> int:
        number = self._command_counter if counter is None else counter
        self._command_counter = number + 1
        message = pb.ExternalServer()
        command = message.command
        command.sessionId, command.messageCounter = self._session, number
        command.deviceCommand.device.CopyFrom(device)
        command.deviceCommand.device.priority = 0  # the external server's modules do that
        command.deviceCommand.commandData = payload
        await self.send(message)
        return number


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel them until they have ended.

    `asyncio.wait_for` of Python 3.11, which aiomqtt uses, swallows a cancellation that comes
    together with what it waits for; the peer would then live for ever.
    """
    left = set(tasks)
    while left:
        for each in left:
            each.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


async def _bury(client: aiomqtt.Client) -> None:
    """aiomqtt leaves socket and task of a failed connection behind; pytest would complain."""
    if client._misc_task is not None:
        client._misc_task.cancel()
        await asyncio.gather(client._misc_task, return_exceptions=True)
    client._client._sock_close()
    if client._disconnected.done() and not client._disconnected.cancelled():
        client._disconnected.exception()
