"""A device on a clock of its own, as `fleet-lab device` runs it: one period, one gateway.

Fleets have an engine instead (`fleet_lab.fleets`); device and sink are the same.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.session import Refused
from fleet_lab.sinks.fleet_protocol import introduction_of
from fleet_lab.sinks.retry import BACKOFF_MAX_S, BACKOFF_MIN_S
from fleet_lab.sinks.urls import sink_factory
from module_gateway.protocol import identity

_AT_ONCE: Final = 0.0


class DeviceListener:
    """What a device tells about itself; override what is of interest. Called in the loop."""

    def connected(self, device: identity.Device) -> None:
        """The gateway accepted the device."""

    def refused(self, device: identity.Device, explanation: str) -> None:
        """The gateway refused the device."""

    def disconnected(self, device: identity.Device, reason: str) -> None:
        """The connection ended or could not be made; said once until it stands again."""

    def answered(
        self, device: identity.Device, status: bytes, command: bytes, latency_s: float
    ) -> None:
        """A status got its command."""

    def pushed(self, device: identity.Device, command: bytes) -> None:
        """A command came without a status."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to connect."""

    host: str = "127.0.0.1"
    port: int = 8888

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True)
class Counts:
    """What a device did so far."""

    connects: int = 0
    sent: int = 0
    answered: int = 0
    pushed: int = 0
    refusals: int = 0


class VirtualDevice:
    """Sends a status per period, takes commands; its sink connects again when it must.

    Args:
        statuses: how many statuses must be answered before the device is done; None: no end.
        first_after_s: delay of the first status, so that a fleet does not speak in one voice.
        is_patient: also go on when the very first attempt fails or the gateway refuses.
        opening: shared by a fleet, so that not all connect at once.
    """

    def __init__(
        self,
        device: Device,
        *,
        gateway: Gateway,
        period_s: float,
        statuses: int | None = None,
        first_after_s: float = 0.0,
        is_patient: bool = False,
        listener: DeviceListener | None = None,
        opening: asyncio.Semaphore | None = None,
    ) -> None:
        self.device = device
        self.introduction = introduction_of(device)
        self.period_s = period_s
        self.statuses = statuses
        self.first_after_s = first_after_s
        self.listener = listener if listener is not None else DeviceListener()
        self.counts = Counts()
        self._sink = sink_factory(f"fleet-protocol://{gateway}")()
        self._is_patient = is_patient
        self._opening = opening if opening is not None else asyncio.Semaphore()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = _AT_ONCE
        self._sent_s = _AT_ONCE
        self._is_down_said = False
        self._failure: LabError | None = None
        self._ended: asyncio.Future[None] | None = None
        device.attach(self._publish)

    @property
    def is_done(self) -> bool:
        """Whether all statuses that were asked for are answered."""
        return self.statuses is not None and self.counts.answered >= self.statuses

    async def run(self) -> None:
        """Live until all statuses are answered; cancel it to stop earlier.

        Raises:
            LabError: unreachable at the first attempt or refused, unless patient.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self.device.started()
        try:
            await self._open()
            await self._ended
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._sink.close()
            self.device.stopped()
            await self.device.settle()

    async def _open(self) -> None:
        wait_s, attempts = BACKOFF_MIN_S, 0
        while True:
            try:
                async with self._opening:
                    await self._sink.open(self)
            except LabError as error:
                if not self._is_patient:
                    raise self._failure or error from None
                self._say_down(str(error))
            else:
                return
            attempts += 1
            jitter = self.device.rng.fork("open", attempts).uniform(0.5, 1.0)
            await asyncio.sleep(wait_s * jitter)
            wait_s = min(wait_s * 2, BACKOFF_MAX_S)

    # What the sink tells (`DevicePort`).

    def connected(self) -> None:
        """The gateway accepted the device."""
        self.counts.connects += 1
        self._is_down_said = False
        self.device.connected()
        self.listener.connected(self.introduction)
        now = asyncio.get_running_loop().time()
        self._send_at(now + (self.first_after_s if self.counts.connects == 1 else _AT_ONCE))

    def disconnected(self, reason: str) -> None:
        """The connection ended; the sink makes a new one."""
        if self._timer is not None:
            self._timer.cancel()
        self.device.disconnected(reason)
        self._say_down(reason)

    def refused(self, response: int, explanation: str) -> None:
        """The gateway does not want the device: the end, unless patient or a mere collision."""
        self.counts.refusals += 1
        is_first = self.counts.connects == 0
        if not self._is_patient and (is_first or Refused(response).is_lasting):
            self._failure = LabError(f"refused: {explanation}")
            if not is_first and self._ended is not None and not self._ended.done():
                self._ended.set_exception(self._failure)
        elif not self._is_down_said:
            self._is_down_said = True
            self.listener.refused(self.introduction, explanation)

    def answered(self, number: int, command: bytes, is_own: bool) -> None:  # noqa: FBT001  # as the port
        """A status got its command."""
        del number
        if not is_own:
            return
        now = asyncio.get_running_loop().time()
        self.counts.answered += 1
        self.device.answered(command)
        self.listener.answered(
            self.introduction, self.device.last_payload, command, now - self._sent_s
        )
        if self.is_done:
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)
            return
        self._send_at(max(self._due_s + self.period_s, now))

    def commanded(self, payload: bytes) -> None:
        """A command came unasked."""
        self.counts.pushed += 1
        self.device.commanded(payload)
        self.listener.pushed(self.introduction, payload)

    def failed(self, number: int, reason: str) -> None:
        """The next connection brings the next status."""

    def _say_down(self, reason: str) -> None:
        if not self._is_down_said:
            self._is_down_said = True
            self.listener.disconnected(self.introduction, reason)

    def _send_at(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = due_s
        self._timer = asyncio.get_running_loop().call_at(due_s, self._send)

    def _send(self) -> None:
        if self._sink.can_publish and self.device.report_sample() == 0:
            self._send_at(self._due_s + self.period_s)  # the sample failed: the device goes on

    def _publish(self, number: int, payload: bytes) -> None:
        self.counts.sent += 1
        self._sent_s = asyncio.get_running_loop().time()
        self._sink.publish(number, payload)
