"""What a person or a script reads: one line per change, text or JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from fleet_lab.device import DeviceListener
from module_gateway.protocol.identity import Device, Identity

_SHOWN_BYTES: Final = 400


def printable(payload: bytes) -> str:
    """A payload as one harmless line: the peer's bytes must not steer the terminal."""
    text = payload[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown + ("…" if len(payload) > _SHOWN_BYTES else "")


class Lines(DeviceListener):
    """Writes a line when a connection changes and when a command differs from the last one."""

    def __init__(
        self, out: TextIO, *, is_json: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._out = out
        self._is_json = is_json
        self._clock = clock
        self._last_commands: dict[Identity, bytes] = {}

    def connected(self, device: Device) -> None:
        """Say it."""
        self.write(device, "connected", f"priority={device.priority}", priority=device.priority)

    def refused(self, device: Device, explanation: str) -> None:
        """Say it with its meaning."""
        self.write(device, "refused", explanation, reason=explanation, level="warn")

    def disconnected(self, device: Device, reason: str) -> None:
        """Say it once."""
        self.write(device, "disconnected", f"{reason}; trying again", reason=reason, level="warn")

    def answered(self, device: Device, status: bytes, command: bytes, latency_s: float) -> None:
        """Say it when the command is a new one."""
        del status
        self._command(device, command, latency_ms=round(latency_s * 1000, 2))

    def pushed(self, device: Device, command: bytes) -> None:
        """Say it always: a pushed command is an event of its own."""
        self._last_commands.pop(device.identity, None)
        self._command(device, command, pushed=True)

    def failed(self, device: Device, reason: str) -> None:
        """The device gives up."""
        self.write(device, "failed", reason, reason=reason, level="error")

    def _command(self, device: Device, command: bytes, **fields: Any) -> None:  # noqa: ANN401
        if self._last_commands.get(device.identity) == command:
            return
        self._last_commands[device.identity] = command
        shown = printable(command)
        self.write(device, "command", shown or "(empty)", command=shown, **fields)

    def write(
        self,
        device: Device | None,
        event: str,
        text: str,
        *,
        level: str = "info",
        **fields: Any,  # noqa: ANN401
    ) -> None:
        """One line, out at once; a person's is of the form that the gateway's own have."""
        now = self._clock()
        identity = printable(str(device.identity).encode()) if device is not None else "fleet-lab"
        if self._is_json:
            entry = {"time_unix_ms": int(now * 1000), "device": identity, "event": event, **fields}
            line = json.dumps(entry)
        else:
            clock = time.strftime("%H:%M:%S", time.localtime(now))
            who = f" device={identity}" if device is not None else ""
            line = f"{clock}.{int(now * 1000) % 1000:03d} {level:<5} {event}{who} {text}"
        self._out.write(line + "\n")
        self._out.flush()
