"""Signs of life for whoever supervises this process: systemd, or our own supervisor.

The messages are those of sd_notify(3). They go as datagrams to the Unix socket that systemd names
in NOTIFY_SOCKET, or into the socket that our supervisor passes on as a file descriptor: then the
sender needs no proof, and the socket no path.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

NOTIFY_FD: Final = "MODULE_GATEWAY_NOTIFY_FD"
"""Set by our supervisor."""
NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"  # sd_notify(3)
WATCHDOG_PID: Final = "WATCHDOG_PID"  # sd_watchdog_enabled(3)
WATCHDOG_USEC: Final = "WATCHDOG_USEC"  # likewise
SYSTEMD_VARIABLES: Final = (NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC)
"""They are meant for one process and must not reach those that it starts."""

ALIVE: Final = b"WATCHDOG=1"
STATUS_CHARS: Final = 200


class Notifier:
    """Tells the supervisor, if there is one. Never waits and never fails."""

    def __init__(
        self, link: socket.socket | None = None, address: str = "", watchdog_s: float | None = None
    ) -> None:
        """`link` is connected, or sends to `address`; without one nobody listens.

        `watchdog_s`: who is silent for so long is killed; None when nobody watches.
        """
        self._link = link
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """The one that the environment of process `pid` names; a silent one if it is wrong."""
        watchdog_s = _watchdog_s(environ, pid)
        number = environ.get(NOTIFY_FD, "")
        address = environ.get(NOTIFY_SOCKET, "")
        try:
            if number.isdecimal():
                link = socket.socket(fileno=int(number))
                link.set_inheritable(False)
                return cls(link, "", watchdog_s)
            if address[:1] in {"/", "@"}:
                link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                return cls(link, address, watchdog_s)
        except OSError:
            pass  # somebody set the variables who does not listen
        return cls()

    def ready(self, status: str) -> None:
        """The job is done from now on."""
        self._send(b"READY=1", _status(status))

    def stopping(self) -> None:
        """The end has begun."""
        self._send(b"STOPPING=1", _status("stopping"))

    def alive(self, status: str | None = None) -> None:
        """Progress is being made; due well within `watchdog_s`."""
        self._send(ALIVE, *([] if status is None else [_status(status)]))

    def say(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status(status))

    def close(self) -> None:
        """Say nothing more."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _send(self, *lines: bytes) -> None:
        if self._link is None:
            return
        payload = b"\n".join(lines)
        with suppress(OSError):  # whoever listened is gone or does not keep up
            if self._address:
                name = self._address.replace("@", "\0", 1)
                self._link.sendto(payload, socket.MSG_DONTWAIT, name)
            else:
                self._link.send(payload, socket.MSG_DONTWAIT)


def _status(text: str) -> bytes:
    return b"STATUS=" + text.replace("\n", " ")[:STATUS_CHARS].encode()


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    usec = environ.get(WATCHDOG_USEC, "")
    if not usec.isdecimal() or int(usec) == 0:
        return None
    if environ.get(WATCHDOG_PID, str(pid)) != str(pid):
        return None
    return int(usec) / 1e6
