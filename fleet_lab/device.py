"""A virtual device: a real TCP client that lives in an event loop.

One coroutine per device waits for the end of its connection; the exchanges themselves run in the
transport's callbacks and cost no task switch, so thousands of devices fit into one process.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from fleet_lab.session import Accepted, Commanded, DeviceSession, Event, Phase, Refused, explain
from module_gateway.protocol.errors import RemoteProtocolError
from module_gateway.protocol.identity import Device

OPEN_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 5.0
"""Far beyond the gateway's own 250 ms: when this fires the gateway is hung, not slow."""
BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0


class Payloads(Protocol):
    """Makes a device's statuses and is told its commands (`fleet_lab.payloads`)."""

    def status(self, number: int) -> bytes:
        """The payload of attempt `number` (1, 2, 3 …)."""
        ...

    def commanded(self, command: bytes) -> None:
        """A command arrived."""
        ...


class DeviceListener:
    """What a device tells about itself; override what is of interest. Called in the loop."""

    def connected(self, device: Device) -> None:
        """The gateway accepted the device."""

    def refused(self, device: Device, explanation: str) -> None:
        """The gateway refused the device."""

    def disconnected(self, device: Device, reason: str) -> None:
        """The connection ended or could not be made; said once until it stands again."""

    def answered(self, device: Device, status: bytes, command: bytes, latency_s: float) -> None:
        """A status got its command."""

    def pushed(self, device: Device, command: bytes) -> None:
        """A command came without a status."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to connect."""

    host: str = "127.0.0.1"
    port: int = 8888

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(slots=True)
class Counts:
    """What a device did so far."""

    connects: int = 0
    sent: int = 0
    answered: int = 0
    pushed: int = 0
    refusals: int = 0


class DeviceError(Exception):
    """The device cannot do its work; the text is one line for a person."""


class VirtualDevice:
    """Connects, sends statuses, takes commands, connects again when the connection ends.

    Args:
        statuses: how many statuses must be answered before the device is done; None: no end.
        first_after_s: delay of the first status, so that a fleet does not speak in one voice.
        is_patient: also go on when the very first attempt fails or the gateway refuses.
    """

    def __init__(  # noqa: PLR0913  # the whole plan of a device, all by name
        self,
        device: Device,
        payloads: Payloads,
        *,
        gateway: Gateway,
        period_s: float,
        statuses: int | None = None,
        first_after_s: float = 0.0,
        is_patient: bool = False,
        listener: DeviceListener | None = None,
        rng: random.Random | None = None,
        opening: asyncio.Semaphore | None = None,
    ) -> None:
        self.device = device
        self.payloads = payloads
        self.period_s = period_s
        self.statuses = statuses
        self.listener = listener if listener is not None else DeviceListener()
        self.counts = Counts()
        self.first_after_s = first_after_s
        self._gateway = gateway
        self._is_patient = is_patient
        self._rng = rng if rng is not None else random.Random()  # noqa: S311  # jitter only
        self._opening = opening if opening is not None else asyncio.Semaphore()
        self._backoff_s = BACKOFF_MIN_S
        self._is_down_said = False

    @property
    def is_done(self) -> bool:
        """Whether all statuses that were asked for are answered."""
        return self.statuses is not None and self.counts.answered >= self.statuses

    async def run(self) -> None:
        """Live until all statuses are answered; cancel it to stop earlier.

        Raises:
            DeviceError: unreachable at the first attempt or refused, unless patient.
        """
        while True:
            ending = await self._live_once()
            if self.is_done:
                return
            self._judge(ending)
            await asyncio.sleep(self._backoff_s * self._rng.uniform(0.5, 1.0))
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)

    async def _live_once(self) -> Refused | str:
        """One connection from its opening to its end; says how it ended."""
        loop = asyncio.get_running_loop()
        try:
            async with self._opening, asyncio.timeout(OPEN_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, loop), self._gateway.host, self._gateway.port
                )
        except TimeoutError:
            return f"no connection to {self._gateway} within {OPEN_TIMEOUT_S:g} s"
        except OSError as error:
            return f"cannot reach a gateway at {self._gateway}: {_cause(error)}"
        try:
            return await connection.ended
        finally:
            connection.abandon()

    def _judge(self, ending: Refused | str) -> None:
        is_first = self.counts.connects == 0
        if isinstance(ending, Refused):
            self.counts.refusals += 1
            if not self._is_patient and (is_first or ending.is_lasting):
                raise DeviceError(f"refused: {explain(ending.response)}")
            if not self._is_down_said:
                self.listener.refused(self.device, explain(ending.response))
        elif is_first and not self._is_patient and ending.startswith(("cannot", "no connection")):
            raise DeviceError(ending)
        elif not self._is_down_said:
            self.listener.disconnected(self.device, ending)
        self._is_down_said = True

    def accepted(self) -> None:
        """The connection stands."""
        self.counts.connects += 1
        self._is_down_said = False
        self.listener.connected(self.device)

    def answered(self, status: bytes, command: bytes, latency_s: float) -> None:
        """A status got its command: the connection is worth something."""
        self.counts.answered += 1
        self._backoff_s = BACKOFF_MIN_S
        self.payloads.commanded(command)
        self.listener.answered(self.device, status, command, latency_s)

    def pushed(self, command: bytes) -> None:
        """A command came unasked."""
        self.counts.pushed += 1
        self.payloads.commanded(command)
        self.listener.pushed(self.device, command)

    def next_status(self) -> bytes:
        """The payload of the next attempt; every attempt has a number of its own."""
        self.counts.sent += 1
        return self.payloads.status(self.counts.sent)


def _cause(error: OSError) -> str:
    """A word of the system's; asyncio wraps it into "Connect call failed" and the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or "connection failed"


class _Connection(asyncio.Protocol):
    """One TCP connection: drives the session by the transport's callbacks."""

    def __init__(self, owner: VirtualDevice, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: asyncio.Future[Refused | str] = loop.create_future()
        self._owner = owner
        self._loop = loop
        self._session = DeviceSession(owner.device)
        self._transport: asyncio.Transport | None = None
        self._status = b""
        self._sent_at = 0.0
        self._due_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.write(self._session.connect_frame())
        self._await_reply()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._session.receive(data):
                self._react(event)
        except RemoteProtocolError as error:
            self._end(f"the gateway broke the protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        what = "reset" if exc is not None else "closed"
        when = {
            Phase.CONNECTING: " without an answer to the connect (its log says why)",
            Phase.AWAITING: " without an answer to the status (its log says why)",
        }.get(self._session.phase, "")
        self._end(f"{what} by the gateway{when}")

    def abandon(self) -> None:
        """Close at once, whatever is under way."""
        self._end("closed")

    def _react(self, event: Event) -> None:
        owner, now = self._owner, self._loop.time()
        match event:
            case Accepted():
                owner.accepted()
                self._due_at = now + (owner.first_after_s if owner.counts.connects == 1 else 0.0)
                self._set_timer(self._due_at, self._send)
            case Refused():
                self._end(event)
            case Commanded(command, is_pushed=True):
                owner.pushed(command)
            case Commanded(command):
                owner.answered(self._status, command, now - self._sent_at)
                if owner.is_done:
                    self._end("done")
                    return
                due_at = self._due_at if self._due_at is not None else now
                self._due_at = max(due_at + owner.period_s, now)
                self._set_timer(self._due_at, self._send)

    def _send(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._status = self._owner.next_status()
        self._sent_at = self._loop.time()
        self._transport.write(self._session.status_frame(self._status))
        self._await_reply()

    def _await_reply(self) -> None:
        reason = f"no answer within {REPLY_TIMEOUT_S:g} s"
        self._set_timer(self._loop.time() + REPLY_TIMEOUT_S, lambda: self._end(reason))

    def _set_timer(self, at: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, action)

    def _end(self, ending: Refused | str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        if not self.ended.done():
            self.ended.set_result(ending)
