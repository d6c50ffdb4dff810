"""A device that keeps to the protocol's letter and to none of its manners.

It resets, half-closes, dribbles its frames, sends two statuses at once, leaves in the middle of a
frame and meets itself with other priorities. What it is answered must be right all the same.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from random import Random
from typing import Final

from fleet_lab.device import Gateway
from module_gateway.protocol.errors import RemoteProtocolError
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.internal import (
    DeviceCommand,
    DeviceConnectResponse,
    decode_server_message,
    encode_connect,
    encode_status,
)
from tests.chaos.referee import Referee

CONNECT_LIMIT_S: Final = 1.0
"""As the strictest client library has it (fleet-protocol 2.3)."""
REPLY_LIMIT_S: Final = 2.0
PERIOD_S: Final = 0.2
OK: Final = 0
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: a close sends RST."""


class Line:
    """One connection of a device, as bytes and messages."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, device: Device
    ) -> None:
        self.device = device
        self.writer = writer
        self._reader = reader
        self._decoder = FrameDecoder()
        self._messages: deque[DeviceConnectResponse | DeviceCommand] = deque()

    async def receive(self, limit_s: float) -> DeviceConnectResponse | DeviceCommand | None:
        """The next message; None when the connection has ended or nothing came in time."""
        try:
            async with asyncio.timeout(limit_s):
                while not self._messages:
                    chunk = await self._reader.read(4096)
                    if not chunk:
                        return None
                    self._decoder.receive(chunk)
                    while (frame := self._decoder.next_frame()) is not None:
                        self._messages.append(decode_server_message(frame))
        except (OSError, TimeoutError):
            return None
        return self._messages.popleft()

    def write(self, chunk: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(chunk)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        own = self.writer.get_extra_info("socket")
        if own is not None and own.fileno() >= 0:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


class WildDevice:
    """One identity. Runs until it is cancelled."""

    def __init__(self, identity: Identity, gateway: Gateway, referee: Referee, rng: Random) -> None:
        self.identity = identity
        self._gateway = gateway
        self._referee = referee
        self._rng = rng
        self._sent = 0
        self._deeds = (
            self._reset,
            self._half_close,
            self._dribble,
            self._send_two,
            self._leave_within_a_frame,
            self._meet_itself,
        )

    async def run(self) -> None:
        """Connect, exchange, misbehave, again."""
        while True:
            line = await self._connected()
            if line is not None:
                try:
                    await self._live(line)
                except RemoteProtocolError as error:
                    self._referee.wrong.append(f"{line.device}: {error}")
                finally:
                    line.close()
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))

    async def _live(self, line: Line) -> None:
        while await self._exchange(line):
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * PERIOD_S)
            if self._referee.is_wild and self._rng.random() < 0.15:
                deed = self._rng.choice(self._deeds)
                self._referee.counts[deed.__name__.strip("_")] += 1
                if not await deed(line):
                    return
        self._referee.counts["unanswered"] += 1

    @property
    def sent(self) -> int:
        """How many statuses; they are numbered from 1."""
        return self._sent

    # Connecting

    async def _open(self, priority: int) -> Line | None:
        device = Device(self.identity, f"{self.identity.role}/{priority}", priority)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                streams = await asyncio.open_connection(self._gateway.host, self._gateway.port)
        except (OSError, TimeoutError):
            self._referee.counts["unreachable"] += 1
            return None
        return Line(*streams, device)

    async def _connected(self, priority: int | None = None) -> Line | None:
        """A line that was accepted. Nobody else holds the identity, so nobody may be named."""
        line = await self._open(self._rng.randrange(3) if priority is None else priority)
        if line is None:
            return None
        response = await self._ask(line)
        if response == OK:
            return line
        if response is not None:
            self._referee.wrong.append(f"{line.device} was refused with {response} by nobody")
        line.close()
        return None

    async def _ask(self, line: Line) -> int | None:
        """Introduce it; the response, None when there is none."""
        line.write(encode_connect(line.device))
        message = await line.receive(CONNECT_LIMIT_S)
        if message is None:
            self._referee.counts["no verdict"] += 1
            return None
        if not isinstance(message, DeviceConnectResponse) or message.device != line.device:
            self._referee.wrong.append(f"{line.device} got {message} for its connect")
            return None
        return message.response

    # Statuses

    def _status(self) -> bytes:
        self._sent += 1
        status = {
            "n": self._sent,
            "of": str(self.identity),
            "salt": self._rng.randbytes(self._rng.choice((4, 16, 300))).hex(),
        }
        return json.dumps(status).encode()

    async def _answer(self, line: Line, status: bytes, sent_at: float) -> bool:
        """Whether an answer came; a wrong one is reported."""
        message = await line.receive(REPLY_LIMIT_S)
        if message is None:
            return False
        if not isinstance(message, DeviceCommand) or message.device != line.device:
            self._referee.wrong.append(f"{line.device} got {message} for its status")
            return False
        self._referee.judge(line.device, status, message.command, sent_at)
        return True

    async def _exchange(self, line: Line) -> bool:
        status = self._status()
        sent_at = time.monotonic()
        line.write(encode_status(line.device, status))
        return await self._answer(line, status, sent_at)

    # Deeds: each returns whether the line can still be used

    async def _reset(self, line: Line) -> bool:
        if self._rng.random() < 0.5:
            line.write(encode_status(line.device, self._status()))
        line.reset()
        return False

    async def _half_close(self, line: Line) -> bool:
        status = self._status()
        line.write(encode_status(line.device, status))
        if not line.writer.is_closing():
            with suppress(OSError):  # the gateway was faster
                line.writer.write_eof()
        await self._answer(line, status, time.monotonic())  # it may come or not, but be right
        return False

    async def _dribble(self, line: Line) -> bool:
        status = self._status()
        frame = encode_status(line.device, status)
        places = range(1, len(frame))
        cuts = sorted(self._rng.sample(places, self._rng.randint(1, 6)))
        for start, end in zip([0, *cuts], [*cuts, len(frame)], strict=True):
            line.write(frame[start:end])
            await asyncio.sleep(self._rng.choice((0.0, 0.01, 0.03)))
        return await self._answer(line, status, time.monotonic())

    async def _send_two(self, line: Line) -> bool:
        statuses = [self._status(), self._status()]
        sent_at = time.monotonic()
        line.write(b"".join(encode_status(line.device, status) for status in statuses))
        for status in statuses:
            if not await self._answer(line, status, sent_at):
                return False
        return True

    async def _leave_within_a_frame(self, line: Line) -> bool:
        frame = encode_status(line.device, self._status())
        line.write(frame[: self._rng.randrange(1, len(frame))])
        line.close()
        return False

    async def _meet_itself(self, line: Line) -> bool:
        """A second device with the same identity: exactly one of the two goes on."""
        other = await self._open(self._rng.randrange(3))
        if other is None:
            return True
        try:
            response = await self._ask(other)
            if response == OK:
                if await self._exchange(line):
                    self._referee.wrong.append(f"{line.device} is answered beside {other.device}")
                return False
            if response is not None and other.device.priority < line.device.priority:
                self._referee.wrong.append(f"{other.device} was refused with {response}")
            return True
        finally:
            other.close()
