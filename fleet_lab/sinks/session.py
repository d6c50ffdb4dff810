"""What the sinks have in common whose connection lives in a task of its own."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, Final

from fleet_lab.cancelling import cancel_all
from fleet_lab.errors import LabError
from fleet_lab.sinks.api import DevicePort, Sink, SinkUrl
from fleet_lab.sinks.retry import BACKOFF_MAX_S, BACKOFF_MIN_S, cause

OUTGOING_MAX: Final = 64
"""Statuses that wait for a slow far side; one more fails with a reason."""


class LostError(Exception):
    """The connection cannot be made or ended; the text says why."""


class SessionSink(Sink):
    """Connects, exchanges until the connection ends, waits, connects again.

    A status that still waits when the connection ends has certainly not been taken and fails;
    one that was sent and not answered is in doubt, which the port knows from `disconnected`.
    """

    __slots__ = ("_backoff_s", "_first", "_is_up", "_outgoing", "_port", "_task")

    def __init__(self, url: SinkUrl) -> None:
        super().__init__(url)
        self._port: DevicePort | None = None
        self._outgoing: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(OUTGOING_MAX)
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._is_up = False
        self._backoff_s = BACKOFF_MIN_S

    @abstractmethod
    async def _live(self, port: DevicePort) -> None:
        """One connection from its opening to its end; call `_stands` once it can be used.

        Raises:
            LostError: it could not be made or it ended.
            OSError, TimeoutError: the same in the system's words.
        """

    @property
    def can_publish(self) -> bool:
        """Connected and room for one more."""
        return self._is_up and not self._outgoing.full()

    async def open(self, port: DevicePort) -> None:
        """Connect for the first time.

        Raises:
            LabError: it cannot be reached.
        """
        loop = asyncio.get_running_loop()
        self._port = port
        self._first = loop.create_future()
        self._task = loop.create_task(self._run(port), name=f"{port.device.id} {self.url.scheme}")
        try:
            await asyncio.wait((self._first, self._task), return_when=asyncio.FIRST_COMPLETED)
            if not self._first.done():
                self._task.result()
            await self._first
        except LostError as error:
            await self.close()
            raise LabError(f"cannot reach {self.url.text}: {error}") from None
        except asyncio.CancelledError:
            await self.close()
            raise

    def publish(self, number: int, payload: bytes) -> None:
        """Queue the status."""
        if self.can_publish:
            self._outgoing.put_nowait((number, payload))
        elif self._port is not None:
            why = "too many statuses wait" if self._is_up else "not connected"
            self._port.failed(number, why)

    async def close(self) -> None:
        """End the connection."""
        self._port, self._is_up = None, False
        task, self._task = self._task, None
        if task is not None:
            await cancel_all(task)
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, port: DevicePort) -> None:
        ends = 0
        while True:
            reason = await self._live_once(port)
            if self._port is None:
                return  # closed: a library may answer the cancellation with an error of its own
            if self._first is not None and not self._first.done():
                self._first.set_exception(LostError(reason))
                return
            ends += 1
            self._went_down(port, reason)
            wait_s = port.device.rng.fork("backoff", ends).uniform(0.5, 1.0) * self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)
            await asyncio.sleep(wait_s)

    async def _live_once(self, port: DevicePort) -> str:
        try:
            await self._live(port)
        except LostError as error:
            return str(error)
        except (OSError, TimeoutError) as error:
            return cause(error)
        return "the far side closed the connection"

    def _stands(self, port: DevicePort) -> None:
        self._is_up = True
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        port.connected()

    def _took(self, port: DevicePort, number: int, command: bytes = b"") -> None:
        self._backoff_s = BACKOFF_MIN_S
        port.answered(number, command, True)

    def _went_down(self, port: DevicePort, reason: str) -> None:
        was_up, self._is_up = self._is_up, False
        while not self._outgoing.empty():
            number, _ = self._outgoing.get_nowait()
            port.failed(number, "the connection ended before it was sent")
        if was_up:
            port.disconnected(reason)


async def until_one_ends(name: str, *works: Coroutine[Any, Any, None]) -> None:
    """Run them side by side until the first ends or fails; the others are cancelled.

    Raises:
        Whatever the first to fail raised.
    """
    tasks = [asyncio.create_task(work, name=name) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all(*tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
