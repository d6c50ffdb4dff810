"""Devices as they come off the wire, each the same object every time.

Most deliveries come from devices that are known already: reading their five fields again, and
comparing what was read with what is known, costs more than everything else about a delivery.
"""

from __future__ import annotations

from typing import Final

from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.identity import Device

MAX_DEVICES: Final = 20_000
"""As many as a handler remembers, unless its settings say otherwise. More cost time, no harm."""


class KnownDevices:
    """Gives the same object for the same words."""

    def __init__(self, bound: int = MAX_DEVICES) -> None:
        self._bound = bound
        self._devices: dict[bytes, Device] = {}

    def read(self, message: pb.Device) -> Device:
        """Like `Device.from_message`."""
        words = message.SerializeToString()
        device = self._devices.get(words)
        if device is None:
            if len(self._devices) >= self._bound:
                self._devices.clear()
            device = self._devices[words] = Device.from_message(message)
        return device
