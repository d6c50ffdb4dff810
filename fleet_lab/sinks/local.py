"""What the sinks have in common that write to this machine: always connected, answered at once."""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod

from fleet_lab.sinks.api import DevicePort, Sink, SinkUrl
from fleet_lab.sinks.retry import cause


class LocalSink(Sink):
    """One JSON line per status; `answered` means that the operating system has taken the line.

    The answer comes in the loop's next turn: a device that sends as fast as it is answered must
    not call itself without end.
    """

    __slots__ = ("_answer", "_port")

    def __init__(self, url: SinkUrl) -> None:
        super().__init__(url)
        self._port: DevicePort | None = None
        self._answer: asyncio.Handle | None = None

    @abstractmethod
    def _write(self, line: str) -> None:
        """Write it, or raise OSError."""

    @property
    def can_publish(self) -> bool:
        """Open, and the last status is answered."""
        return self._port is not None and self._answer is None

    async def open(self, port: DevicePort) -> None:
        """There is nothing to connect to."""
        self._port = port
        port.connected()

    def publish(self, number: int, payload: bytes) -> None:
        """Write one line."""
        port = self._port
        if port is None:
            return
        if self._answer is not None:
            port.failed(number, "the last status is unanswered")
            return
        status = payload.decode("utf-8", "backslashreplace")
        entry = {
            "time_unix_ms": int(time.time() * 1000),
            "id": port.device.id,
            "number": number,
            "status": status,
        }
        try:
            self._write(json.dumps(entry) + "\n")
        except OSError as error:
            port.failed(number, cause(error))
            return
        self._answer = asyncio.get_running_loop().call_soon(self._answered, port, number)

    async def close(self) -> None:
        """Nothing is told afterwards."""
        self._port = None
        if self._answer is not None:
            self._answer.cancel()

    def _answered(self, port: DevicePort, number: int) -> None:
        self._answer = None
        port.answered(number, b"", True)
