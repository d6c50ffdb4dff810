"""An event loop whose clock jumps to the next timer: exact times, no waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jumping(selectors.SelectSelector):
    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("nothing will ever happen any more")
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """No sockets: only timers and callbacks."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.now_s


def run_virtually(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(coroutine)


class FakeTransport(asyncio.Transport):
    """The real side: writes down what comes and when."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.written: list[tuple[float, bytes]] = []
        self.ends: list[tuple[float, str]] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.is_taking = True

    def write(self, data: Any) -> None:
        self.written.append((self.loop.time(), data))

    def _end(self, how: str) -> None:
        if not self.is_closing():
            self.loop.call_soon(self.protocol.connection_lost, None)
        self.ends.append((self.loop.time(), how))

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("abort")

    def write_eof(self) -> None:
        self.ends.append((self.loop.time(), "eof"))

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return any(how != "eof" for _, how in self.ends)

    def is_reading(self) -> bool:
        return self.is_taking

    def pause_reading(self) -> None:
        self.is_taking = False

    def resume_reading(self) -> None:
        self.is_taking = True

    def get_write_buffer_size(self) -> int:
        return 5

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol


class Inner(asyncio.Protocol):
    """A device's protocol: writes down what it is told and when."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.told: list[tuple[float, str | bytes]] = []
        self.lost = self.loop.create_future()
        self.error: Exception | None = None
        self.keeps_half = False

    def _tell(self, what: str | bytes) -> None:
        self.told.append((self.loop.time(), what))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._tell("made")

    def data_received(self, data: bytes) -> None:
        self._tell(data)

    def eof_received(self) -> bool:
        self._tell("eof")
        return self.keeps_half

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell("lost")
        self.error = exc
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self._tell("pause")

    def resume_writing(self) -> None:
        self._tell("resume")


class Relinked(Inner):
    def transport_changed(self, transport: Any) -> None:
        self.transport = transport
        self._tell("changed")
