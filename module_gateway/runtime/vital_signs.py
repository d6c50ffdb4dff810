"""What a supervised process tells its supervisor, and how long it has told nothing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

from module_gateway.runtime.notify import ALIVE, NOTIFY_FD, WATCHDOG_USEC
from module_gateway.runtime.silence import Silence

DATAGRAM_BYTES: Final = 4096
"""Ours are far shorter; the rest of a longer one is cut off."""
READS: Final = 16
"""Datagrams per turn of the loop: one process must not keep the supervisor busy."""


class VitalSigns:
    """The socket between a supervisor and one process, and the silence on it."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Whoever is silent for `limit_s` hangs; `clock` gives monotonic seconds."""
        self._clock = clock
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.limit_s = limit_s
        self.silence = Silence(limit_s, clock())
        self.status = ""
        """What it said last about itself, in words."""

    @property
    def their_fd(self) -> int:
        """The end that the process inherits."""
        return self._theirs.fileno()

    @property
    def environment(self) -> dict[str, str]:
        """What the process must be told."""
        return {NOTIFY_FD: str(self.their_fd), WATCHDOG_USEC: str(round(self.limit_s * 1e6))}

    def listen(self) -> None:
        """The process runs, or could not be started: its end is its own from now on."""
        self._theirs.close()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours.fileno(), self._read)

    def begin(self) -> None:
        """It has started: from now on silence counts."""
        self.silence = Silence(self.limit_s, self._clock())

    def look(self) -> bool:
        """Whether it hangs."""
        return self.silence.look(self._clock())

    def close(self) -> None:
        """Listen no longer."""
        if self._loop is not None:
            self._loop.remove_reader(self._ours.fileno())
            self._loop = None
        self._ours.close()
        self._theirs.close()

    def _read(self) -> None:
        for _ in range(READS):
            try:
                datagram = self._ours.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            if not datagram:  # its process has ended
                if self._loop is not None:
                    self._loop.remove_reader(self._ours.fileno())
                return
            lines = datagram.split(b"\n")
            if ALIVE in lines:
                self.silence.heard()
            for line in lines:
                if line.startswith(b"STATUS="):
                    self.status = line.removeprefix(b"STATUS=").decode(errors="replace")
