"""A gateway that lies on demand: the positive controls of the lab's ledger.

It speaks the device protocol on a loopback port and emits, as MQTT messages, both sides of an
upstream session: its own and that of the control plane that it plays as well. An honest one is
beyond reproach; told to misbehave it does so exactly once, to one status of one device.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Final

from fleet_lab.errors import LabError
from fleet_lab.recorder import Recorder
from fleet_lab.session import Accepted, Commanded, DeviceSession
from module_gateway.protocol.errors import Reason, RemoteProtocolError
from module_gateway.protocol.external import (
    Connect,
    ConnectResponse,
    DeviceState,
    Position,
    Status,
    StatusResponse,
    Topics,
    encode,
)
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.internal import (
    DeviceConnect,
    decode_client_message,
    encode_command,
    encode_connect_response,
)

Emit = Callable[[str, bytes], None]
TOPICS: Final = Topics.of("lab", "fake")
CAR_ACCESSORY: Final = 1001
LATE_S: Final = 0.3
VICTIM: Final = 3
"""Number of the attempt to which it happens."""
PHANTOM_NUMBER: Final = 999
WAIT_S: Final = 30.0


class Lie(Enum):
    """What the gateway does wrong."""

    NOTHING = auto()
    LOSE = auto()
    LOSE_ACKNOWLEDGEMENT = auto()
    DUPLICATE = auto()
    REORDER = auto()
    DELAY_REPLY = auto()
    DELIVER_AS_ANOTHER = auto()
    REPLY_TO_ANOTHER = auto()
    INVENT = auto()
    COUNT_TOO_MANY = auto()
    COUNT_TOO_FEW = auto()
    LOSE_IN_OUTAGE = auto()
    REPEAT_AFTER_OUTAGE = auto()


class SteppingClock:
    """A millisecond passes with every look: what a busy machine adds to an exchange is not seen."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        self.now_s += 0.001
        return self.now_s


class LyingGateway:
    """Decisions of the gateway; `serve` gives it a socket.

    Args:
        has_positions: number the outbox and tell what was applied, as our own gateway and
            control plane do; or be plain peers.
        clock: what `play` looks at; None: the loop's own time.
    """

    def __init__(
        self,
        lie: Lie,
        emit: Emit,
        *,
        has_positions: bool = True,
        clock: SteppingClock | None = None,
    ) -> None:
        self.lie = lie
        self.clock = clock
        self.replies_held = 0
        self._emit = emit
        self._has_positions = has_positions
        self._session = 0
        self._counter = 0
        self._sequence = 0
        self._applied: dict[Identity, Position] = {}
        self._has_gap: set[Device] = set()
        self._is_up = False
        self._announced: set[Device] = set()
        self._last: dict[Device, bytes] = {}
        self._folds: dict[Device, list[bytes]] = {}
        self._held: tuple[Device, bytes] | None = None
        self._is_done = lie is Lie.NOTHING

    # Upstream

    def go_up(self) -> None:
        """A session begins; what the outage folded goes first."""
        self._session += 1
        self._counter = 0
        self._is_up = True
        session = f"session-{self._session}"
        devices = tuple(self._folds)
        self._emit(TOPICS.from_gateway, encode(Connect(session, "lab", "fake", devices)))
        accepted = ConnectResponse(session, 0, tuple(self._applied.items()))
        self._emit(TOPICS.to_gateway, encode(accepted))
        folds, self._folds = self._folds, {}
        for device, statuses in folds.items():
            self._announced.add(device)
            self._publish(device, DeviceState.CONNECTING, statuses[-1], self._aggregate(statuses))
        if self._last and self._is_victim(Lie.REPEAT_AFTER_OUTAGE, b""):
            device, status = next(iter(self._last.items()))
            again = {**json.loads(status), "n": 1}
            self._publish(device, DeviceState.RUNNING, json.dumps(again).encode())

    def go_down(self) -> None:
        """The link upstream breaks."""
        self._is_up = False
        self._announced.clear()

    def _aggregate(self, statuses: list[bytes]) -> bytes:
        total = len(statuses)
        if self._is_victim(Lie.COUNT_TOO_MANY, b""):
            total += 1
        elif self._is_victim(Lie.COUNT_TOO_FEW, b""):
            total -= 1
        return json.dumps({"pressed_count": 0, "total_statuses": total}).encode()

    def _publish(
        self, device: Device, state: DeviceState, status: bytes, error: bytes | None = None,
        *, is_marker: bool = False, is_acknowledged: bool = True,
    ) -> None:  # fmt: skip
        self._counter += 1
        session = f"session-{self._session}"
        position = None
        if self._has_positions and not is_marker:
            self._sequence += 1
            position = Position(7, self._sequence)
        message = Status(session, state, self._counter, device, status, error, position)
        self._emit(TOPICS.from_gateway, encode(message))
        if not is_acknowledged:
            self._has_gap.add(device)
        else:
            if position is not None and device not in self._has_gap:
                self._applied[device.identity] = position
            answer = StatusResponse(session, 0, self._counter)
            self._emit(TOPICS.to_gateway, encode(answer))

    def _carry(self, device: Device, status: bytes) -> None:
        """One applied status goes upstream, or waits in the fold."""
        if not self._is_up:
            if not self._is_victim(Lie.LOSE_IN_OUTAGE, b""):
                self._folds.setdefault(device, []).append(status)
            elif device in self._folds:
                raise LabError("the first status of an outage must be the one that is lost")
            return
        if self._is_victim(Lie.LOSE, status):
            return
        if self._is_victim(Lie.REORDER, status):
            self._held = (device, status)
            return
        writer = device
        if self._is_victim(Lie.DELIVER_AS_ANOTHER, status):
            device = next(each for each in self._last if each != device)
        is_lost = self._is_victim(Lie.LOSE_ACKNOWLEDGEMENT, status)
        self._announce_and_publish(device, status, is_acknowledged=not is_lost)
        if self._is_victim(Lie.DUPLICATE, status):
            self._publish(device, DeviceState.RUNNING, status)
        if self._is_victim(Lie.INVENT, status):
            invented = {**json.loads(status), "n": PHANTOM_NUMBER}
            self._publish(device, DeviceState.RUNNING, json.dumps(invented).encode())
        if self._held is not None and self._held[0] == writer:
            held, self._held = self._held, None
            self._publish(held[0], DeviceState.RUNNING, held[1])

    def _announce_and_publish(
        self, device: Device, status: bytes, *, is_acknowledged: bool
    ) -> None:
        is_new = device not in self._announced
        self._announced.add(device)
        state = DeviceState.CONNECTING if is_new else DeviceState.RUNNING
        self._publish(device, state, status, is_acknowledged=is_acknowledged)

    def leave(self, device: Device) -> None:
        """The device is gone: its last status says so."""
        if self._is_up and device in self._announced:
            self._announced.discard(device)
            self._publish(device, DeviceState.DISCONNECT, self._last[device], is_marker=True)

    def beat(self) -> None:
        """Heartbeats: the last status of everybody again."""
        for device in self._announced:
            self._publish(device, DeviceState.RUNNING, self._last[device], is_marker=True)

    def _is_victim(self, lie: Lie, status: bytes) -> bool:
        """Whether it happens now; it happens once."""
        if self._is_done or lie is not self.lie:
            return False
        if status and json.loads(status).get("n") != VICTIM:
            return False
        self._is_done = True
        return True

    # Devices

    def status(self, device: Device, status: bytes, reply: Callable[[bytes], None]) -> None:
        """A status arrived: apply it, answer it."""
        self._last[device] = status
        is_delayed = self._is_victim(Lie.DELAY_REPLY, status)
        other = Device.of(*device.identity[:2], "somebody_else")
        is_confused = self._is_victim(Lie.REPLY_TO_ANOTHER, status)
        self._carry(device, status)
        answer = encode_command(other if is_confused else device, b'{"lit_up": false}')
        if is_delayed and self.clock is not None:
            self.clock.now_s += LATE_S
            reply(answer)
        elif is_delayed:
            asyncio.get_running_loop().call_later(LATE_S, reply, answer)
        else:
            reply(answer)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Listen on a free loopback port, which it gives."""
        writers: set[asyncio.StreamWriter] = set()
        talks: set[asyncio.Task[None] | None] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            talks.add(asyncio.current_task())
            decoder = FrameDecoder()
            try:
                while chunk := await reader.read(65536):
                    decoder.receive(chunk)
                    while frame := decoder.next_frame():
                        message = decode_client_message(frame)
                        if isinstance(message, DeviceConnect):
                            writer.write(encode_connect_response(message.device, 0))
                        else:
                            self.status(message.device, message.status, writer.write)
            except ConnectionError:
                return
            finally:
                writers.discard(writer)
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in list(writers):
                writer.close()
            await asyncio.gather(*(talk for talk in talks if talk is not None))
            await server.wait_closed()


class Probe:
    """One device that tells a Recorder everything, as an engine does."""

    def __init__(
        self,
        index: int,
        device: Device,
        device_id: str,
        recorder: Recorder,
        clock: Callable[[], float],
    ) -> None:
        self.device = device
        self._clock = clock
        self._index = index
        self._id = device_id
        self._recorder = recorder
        self._number = 0
        self._session = DeviceSession(device)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, port: int) -> None:
        """Connect and be accepted."""
        self._session = DeviceSession(self.device)
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(self._session.connect_frame())
        event = await self._event()
        assert isinstance(event, Accepted)
        self._recorder.connected(self._index, self._clock())

    async def send(self, port: int) -> None:
        """One status and its answer; after a reply for somebody else connect again."""
        assert self._writer is not None
        self._number += 1
        clock = self._clock
        status = json.dumps({"pressed": True, "n": self._number, "id": self._id}).encode()
        self._recorder.sent(self._index, self._number, clock(), clock())
        self._writer.write(self._session.status_frame(status))
        try:
            event = await self._event()
        except RemoteProtocolError as error:
            if error.reason is not Reason.OTHER_DEVICE:
                raise
            self._recorder.answered(self._index, self._number, clock(), False)
            self.close(str(error.reason))
            await self.connect(port)
            return
        assert isinstance(event, Commanded)
        self._recorder.answered(self._index, self._number, clock(), True)

    def close(self, reason: str = "end") -> None:
        """Leave."""
        assert self._writer is not None
        self._writer.close()
        self._recorder.closed(self._index, reason, self._clock())

    async def _event(self) -> object:
        assert self._reader is not None
        while True:
            async with asyncio.timeout(WAIT_S):
                chunk = await self._reader.read(65536)
            assert chunk, "the gateway closed the connection"
            for event in self._session.receive(chunk):
                return event


def fake_devices(count: int = 3, module: int = CAR_ACCESSORY) -> list[Device]:
    """So many, with different roles."""
    return [Device.of(module, 0, f"device_{index}") for index in range(count)]


async def play(gateway: LyingGateway, devices: list[Device], recorder: Recorder) -> None:
    """Five statuses each, an outage upstream of five more, five more after it, the end."""
    clock = gateway.clock or asyncio.get_running_loop().time
    probes = [
        Probe(index, device, device.identity.role, recorder, clock)
        for index, device in enumerate(devices)
    ]
    async with gateway.serve() as port:
        gateway.go_up()
        for probe in probes:
            await probe.connect(port)
        await _rounds(probes, port)
        gateway.beat()
        gateway.go_down()
        await _rounds(probes, port)
        gateway.go_up()
        await _rounds(probes, port)
        for probe in probes:
            probe.close()
            gateway.leave(probe.device)


async def _rounds(probes: list[Probe], port: int, rounds: int = 5) -> None:
    for _ in range(rounds):
        for probe in probes:
            await probe.send(port)
