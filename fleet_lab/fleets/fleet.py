"""Fleets for people: plain calls from a script or a prompt, the event loop out of sight.

with Fleet("cars", "car_accessory", size=20, sink="fleet-protocol://127.0.0.1:8888",
           load="1/s each") as cars:
    cars.wait("30s")
    print(cars.ps())
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import uvloop

from fleet_lab.devices.api import Device
from fleet_lab.durations import parse_duration_s
from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.running import RunningFleet
from fleet_lab.fleets.spec import members_of
from fleet_lab.links.conditions import Conditions

T = TypeVar("T")
_END_TIMEOUT_S: Final = 30.0


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine there and wait for its result; Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call a function there and wait for its result."""

        async def called() -> T:
            return function()

        return self.run(called)

    def close(self) -> None:
        """End loop and thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_TIMEOUT_S)
        self._loop.close()


class Fleet:
    """A named, scalable set of virtual devices. All calls wait until the work is done.

    Takes what `RunningFleet` takes. Use it as a context manager, or call `start` and `stop`.
    A fleet that ended may be started again, with the same seed.
    """

    def __init__(
        self,
        name: str,
        cls: type[Device] | str | Mapping[str, Any],
        **plan: Any,  # noqa: ANN401  # RunningFleet's
    ) -> None:
        self._fleet = RunningFleet(name, cls, **plan)
        self._thread: LoopThread | None = None

    @property
    def name(self) -> str:
        """Of the fleet."""
        return self._fleet.name

    @property
    def size(self) -> int:
        """How many devices it shall have now."""
        return self._fleet.size

    @property
    def seed(self) -> int:
        """Gives the same statuses again."""
        return self._fleet.spec.seed

    def start(self) -> Self:
        """Open every device.

        Raises:
            LabError: nothing could be opened; the first reason.
        """
        if self._thread is not None:
            raise LabError(f"fleet {self.name} runs already", EXIT_USAGE)
        self._thread = LoopThread(f"fleet {self.name}")
        try:
            self._thread.run(self._fleet.start)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every device and every worker; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            thread.run(self._fleet.stop)
        finally:
            thread.close()

    def scale(self, size: int) -> None:
        """Another number of devices.

        Raises:
            LabError: the fleet lists its devices, or the machine does not allow so many.
        """
        self._running().run(lambda: self._fleet.scale(size))

    def send(self, device_id: str, payload: bytes | str | Mapping[str, Any]) -> None:
        """Give a device a command, wherever it runs; a mapping goes as JSON.

        Raises:
            LabError: there is no such device.
        """
        self._running().run(lambda: self._fleet.send(device_id, payload))

    def telemetry(self, device_id: str) -> dict[str, Any]:
        """State and counters of a device, wherever it runs.

        Raises:
            LabError: there is no such device.
        """
        return self._running().run(lambda: self._fleet.telemetry(device_id))

    def set_link(
        self,
        conditions: Conditions | str | Mapping[str, Any],
        ids: Sequence[str] | None = None,
        share: float = 1.0,
    ) -> None:
        """Another network for these devices, or for the first `share` (0 … 1) of the fleet."""
        self._running().run(lambda: self._fleet.set_link(conditions, ids, share))

    def ps(self) -> dict[str, Any]:
        """One row about the fleet: sizes, sums, places."""
        return self._running().call(self._fleet.ps)

    def wait(self, duration: str | float | None = None) -> None:
        """Let it run for a while; without a duration until Ctrl-C, which ends the wait quietly."""
        seconds = parse_duration_s(duration) if isinstance(duration, str) else duration
        self._running()
        try:
            threading.Event().wait(seconds)
        except KeyboardInterrupt:
            if duration is not None:
                raise

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise LabError(f"fleet {self.name} does not run", EXIT_USAGE)
        return self._thread


def deploy_device(
    cls: type[Device] | str | Mapping[str, Any],
    id: str = "device",  # noqa: A002  # the one word for it
    **plan: Any,  # noqa: ANN401  # as in Fleet
) -> Fleet:
    """Start one device; the fleet of one that it returns commands, watches and stops it.

    Raises:
        LabError: it could not be opened.
    """
    members = members_of([{"id": id}], "device")
    return Fleet("device", cls, members=members, **plan).start()


def deploy_fleet(
    devices: Sequence[Mapping[str, Any]],
    name: str = "fleet",
    cls: type[Device] | str | Mapping[str, Any] = "transparent",
    **plan: Any,  # noqa: ANN401  # as in Fleet
) -> Fleet:
    """Start a fleet of listed devices: `[{"id": …, "cls": …, "sink": …, "options": …}, …]`.

    Every key may be left out; `cls` and the rest of the plan hold for those that do.

    Raises:
        LabError: nothing could be opened, an unknown key, or an id twice.
    """
    return Fleet(name, cls, members=members_of(devices, name), **plan).start()
