"""Devices that report as fast as they are answered until a number, then once a second.

Every status has a new number `n`; when each was sent and which were answered is remembered.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from typing import Final

from fleet_lab.device import Gateway
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.internal import (
    DeviceConnectResponse,
    decode_server_message,
    encode_connect,
    encode_status,
)

PERIOD_S: Final = 1.0
AGAIN_S: Final = 0.5
"""Before a device that was closed connects again."""
PADDING: Final = "p" * 250
"""Statuses of about 300 bytes: the size for which the matrix reckons its backlogs."""


def status_of(number: int) -> bytes:
    """Status `number` of any device; the car accessory's and the transparent module take it."""
    pressed = "true" if number % 2 else "false"
    return f'{{"pressed": {pressed}, "n": {number}, "padding": "{PADDING}"}}'.encode()


class Reporter(asyncio.Protocol):
    """One device: one connection at a time, one status under way.

    Attributes:
        sent_at: monotonic seconds, of status 1 first.
        waits_s: of each answer, in the order of the statuses that were answered.
        answered: numbers that were.
    """

    def __init__(self, device: Device, gateway: Gateway, phase_s: float, first: int = 1) -> None:
        self.device = device
        self.target = first - 1
        self.first = first
        self.sent_at = array("d")
        self.answered_at = array("d")
        self.waits_s = array("d")
        self.answered: set[int] = set()
        self.reached = asyncio.Event()
        self._gateway = gateway
        self._phase_s = phase_s
        self._decoder = FrameDecoder()
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()

    @property
    def identity(self) -> Identity:
        return self.device.identity

    @property
    def sent(self) -> int:
        """The number of the newest status."""
        return self.first - 1 + len(self.sent_at)

    def time_of(self, number: int) -> float:
        """When it was sent."""
        return self.sent_at[number - self.first]

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._lost.clear()
                self._decoder = FrameDecoder()
                try:
                    await loop.create_connection(
                        lambda: self, self._gateway.host, self._gateway.port
                    )
                    await self._lost.wait()
                except OSError:
                    pass
                await asyncio.sleep(AGAIN_S)
        finally:
            self._stop_timer()
            if self._transport is not None:
                self._transport.close()

    def flood(self, target: int) -> None:
        """Report without a pause until status `target` was answered."""
        self.target = target
        self.reached.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(encode_connect(self.device))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._stop_timer()
        self._transport = None
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        self._decoder.receive(data)
        while (frame := self._decoder.next_frame()) is not None:
            message = decode_server_message(frame)
            if not isinstance(message, DeviceConnectResponse):
                self._note_answer()
            self._go_on()

    def _note_answer(self) -> None:
        now = time.monotonic()
        self.waits_s.append(now - self.sent_at[-1])
        self.answered_at.append(now)
        self.answered.add(self.sent)
        if self.sent >= self.target:
            self.reached.set()

    def _go_on(self) -> None:
        if self.sent < self.target:
            self._report()
            return
        now = time.monotonic()
        left_s = PERIOD_S - (now - self._phase_s) % PERIOD_S
        self._timer = asyncio.get_running_loop().call_later(left_s, self._report)

    def _report(self) -> None:
        self._timer = None
        if self._transport is None or self._transport.is_closing():
            return
        self.sent_at.append(time.monotonic())
        self._transport.write(encode_status(self.device, status_of(self.sent)))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def reporters(identities: Sequence[Identity], gateway: Gateway, first: int = 1) -> list[Reporter]:
    """One per identity, spread evenly over the second."""
    return [
        Reporter(Device(each, each.role), gateway, PERIOD_S * number / len(identities), first=first)
        for number, each in enumerate(identities)
    ]
