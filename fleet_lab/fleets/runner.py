"""One running device: between its class, its sink and the recorder. All callbacks, no task."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fleet_lab.devices.api import Device
from fleet_lab.fleets.lag import Lag
from fleet_lab.fleets.spec import DeviceSpec
from fleet_lab.fleets.timers import TimerHeap
from fleet_lab.links.transport import Link
from fleet_lab.recorder import Recorder
from fleet_lab.sinks.api import Sink

BACKLOG_MAX: Final = 3600
"""Due statuses that wait for their sink: one hour at 1/s. Beyond it the oldest is skipped."""

Waiting: TypeAlias = float | tuple[float, int, bytes]
"""When a sample was due, or a report that was made already: due time, number, payload."""


@dataclass(slots=True)
class Counts:
    """Sums over the devices of one process."""

    connected: int = 0
    sent: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    disconnects: int = 0
    commands: int = 0
    skipped: int = 0
    restarts: int = 0
    lag: Lag = field(default_factory=Lag)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all devices of a process share."""

    loop: asyncio.AbstractEventLoop
    timers: TimerHeap
    recorder: Recorder
    counts: Counts
    on_problem: Callable[[str, str], None]
    is_closed_model: bool = False
    clock: Callable[[], float] = time.monotonic


class Runner:
    """The `DevicePort` of one device.

    A status that is due while the sink cannot take one waits; it is made when it is sent, and
    recorded with the time at which it was due, so a slow gateway cannot hide its own slowness.
    """

    __slots__ = (
        "_around", "_backlog", "_due_s", "_is_publishing", "_is_waking", "answered_count",
        "device", "failures", "is_connected", "is_live", "link", "sent_count", "sink", "spec",
    )  # fmt: skip

    def __init__(
        self, spec: DeviceSpec, device: Device, sink: Sink, link: Link | None, around: Surroundings
    ) -> None:
        self.spec = spec
        self.device = device
        self.sink = sink
        self.link = link
        self.is_live = False
        self.is_connected = False
        self.failures = 0
        self.sent_count = 0
        self.answered_count = 0
        self._around = around
        self._backlog: deque[Waiting] | None = None
        self._due_s = 0.0
        self._is_publishing = False
        self._is_waking = False
        device.attach(self._publish)

    def begin(self) -> None:
        """The device starts: its own schedule begins, spread over its periods."""
        self.is_live = True
        self.device.started()
        now = self._around.clock()
        for name, period_s in type(self.device).periodic:
            phase = self.device.rng.fork("phase", name).random()
            self._around.timers.at(now + period_s * phase, self._periodic(name, period_s))

    async def end(self) -> None:
        """The device stops; nothing of it runs afterwards."""
        was_connected, was_live = self.is_connected, self.is_live
        self.is_live = self.is_connected = False
        self._backlog = None
        await self.sink.close()
        if self.link is not None:
            self.link.close()
        if was_connected:
            self._around.counts.connected -= 1
            self._around.recorder.closed(self.spec.index, "stopped", self._around.clock())
        if was_live:
            self.device.stopped()
        await self.device.settle()

    # Work that is due.

    def due(self, due_s: float) -> None:
        """The load wants one status of this device."""
        if not self.is_live:
            return
        self._around.counts.lag.add(self._around.clock() - due_s)
        if self._backlog or self._is_publishing or not self.sink.can_publish:
            self._wait(due_s)
        else:
            self._send_sample(due_s)

    def _periodic(self, name: str, period_s: float) -> Callable[[float], None]:
        device, around = self.device, self._around

        def call(due_s: float) -> None:
            if not self.is_live:
                return
            now = around.clock()
            around.counts.lag.add(now - due_s)
            self._due_s = due_s
            device.due(name)
            self._due_s = 0.0
            missed = int(max(now - due_s, 0.0) / period_s)
            around.timers.at(due_s + period_s * (missed + 1), call)

        return call

    def _send_sample(self, due_s: float) -> None:
        self._due_s = due_s
        self.device.report_sample()
        self._due_s = 0.0

    def _publish(self, number: int, payload: bytes) -> None:
        """Where the device's `report` ends."""
        now = self._around.clock()
        due_s = self._due_s or now
        if self._is_publishing or not self.is_connected or not self.sink.can_publish:
            self._wait((due_s, number, payload))
            return
        self._hand_over(due_s, number, payload, now)

    def _hand_over(self, due_s: float, number: int, payload: bytes, now: float) -> None:
        around = self._around
        around.counts.sent += 1
        self.sent_count += 1
        around.recorder.sent(self.spec.index, number, due_s, now)
        self._is_publishing = True
        try:
            self.sink.publish(number, payload)
        finally:
            self._is_publishing = False

    def _wait(self, waiting: Waiting) -> None:
        if self._backlog is None:
            self._backlog = deque()
        elif len(self._backlog) >= BACKLOG_MAX:
            self._backlog.popleft()
            self._around.counts.skipped += 1
        self._backlog.append(waiting)
        if self.is_connected and self.sink.can_publish:
            self._wake()

    def _proceed(self) -> None:
        """The sink can take one more, or several: first what waits, then the closed model."""
        if self._is_publishing:
            # The sink answered within publish; going on from here would nest without end.
            self._wake()
            return
        while self._backlog and self.sink.can_publish and self.is_live:
            waiting = self._backlog.popleft()
            if isinstance(waiting, tuple):
                due_s, number, payload = waiting
                self._hand_over(due_s, number, payload, self._around.clock())
            else:
                self._send_sample(waiting)
        if (
            self._around.is_closed_model
            and not self._backlog
            and self.is_live
            and self.sink.can_publish
        ):
            self._send_sample(self._around.clock())

    def _wake(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            self._around.loop.call_soon(self._woken)

    def _woken(self) -> None:
        self._is_waking = False
        if self.is_live and self.is_connected:
            self._proceed()

    # What the sink tells.

    def connected(self) -> None:
        """The far side accepts statuses."""
        if not self.is_connected:
            self.is_connected = True
            self._around.counts.connected += 1
        self.failures = 0
        self._around.recorder.connected(self.spec.index, self._around.clock())
        if not self.is_live:
            self.begin()
        self.device.connected()
        self._proceed()

    def disconnected(self, reason: str) -> None:
        """The connection ended; the sink connects again by itself."""
        if self.is_connected:
            self.is_connected = False
            self._around.counts.connected -= 1
        self._around.counts.disconnects += 1
        self._around.recorder.closed(self.spec.index, reason, self._around.clock())
        self.device.disconnected(reason)

    def refused(self, response: int, explanation: str) -> None:
        """The far side does not want the device."""
        self._around.counts.refused += 1
        self._around.recorder.refused(self.spec.index, response)
        if self.is_live:
            self._around.on_problem(self.device.id, f"refused: {explanation}")

    def answered(self, number: int, command: bytes, is_own: bool) -> None:  # noqa: FBT001  # the port's signature
        """The attempt was taken."""
        around = self._around
        around.counts.answered += 1
        self.answered_count += 1
        around.recorder.answered(self.spec.index, number, around.clock(), is_own)
        if is_own:
            self.device.answered(command)
        self._proceed()

    def commanded(self, payload: bytes) -> None:
        """A command came by itself."""
        self._around.counts.commands += 1
        self.device.commanded(payload)

    def failed(self, number: int, reason: str) -> None:
        """The attempt was certainly not taken."""
        del number, reason
        self._around.counts.failed += 1
        if self.is_connected:
            self._wake()

    def telemetry(self) -> dict[str, Any]:
        """The device's own, and what this process knows about it."""
        return self.device.telemetry() | {
            "index": self.spec.index,
            "is_connected": self.is_connected,
            "sent": self.sent_count,
            "answered": self.answered_count,
            "waiting": len(self._backlog or ()),
            "sink": self.spec.sink,
        }
