"""Who a device is (fleet-protocol 1.4)."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from module_gateway.protocol import internal_protocol_pb2 as pb

ROLE_PATTERN: Final = re.compile(r"[a-z0-9_]+")
"""What the fleet's HTTP side accepts as a role; the wire itself takes any text."""

NAME_PATTERN: Final = re.compile(r"[a-z0-9_]+")
"""Company and vehicle name: they become MQTT topics (fleet-protocol 4.2)."""

PARTITIONS: Final = 64
"""Parts into which the devices of a module are divided between handlers."""


class Identity(NamedTuple):
    """What makes a device that device. Name and priority are attributes, not identity."""

    module: int
    device_type: int
    role: str

    def __str__(self) -> str:
        return f"{self.module}/{self.device_type}/{self.role}"

    def write_to(self, message: pb.Device) -> None:
        """Fill a wire message that tells nothing else of its device."""
        message.module = self.module  # type: ignore[assignment]  # an open enum on the wire
        message.deviceType = self.device_type
        message.deviceRole = self.role

    @property
    def partition(self) -> int:
        """0 … 63: CRC-32 of `module/type/role`, the same in every process and on every machine."""
        return zlib.crc32(str(self).encode()) % PARTITIONS


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it introduced itself.

    Replies and upstream messages carry all of it; only `identity` is ever compared.
    """

    identity: Identity
    name: str = ""
    priority: int = 0

    @classmethod
    def of(
        cls, module: int, device_type: int, role: str, name: str = "", priority: int = 0
    ) -> Device:
        """Shorthand that spells out the five fields."""
        return cls(Identity(module, device_type, role), name, priority)

    @classmethod
    def from_message(cls, message: pb.Device) -> Device:
        """Read it off the wire."""
        identity = Identity(message.module, message.deviceType, message.deviceRole)
        return cls(identity, message.deviceName, message.priority)

    def write_to(self, message: pb.Device) -> None:
        """Fill a wire message that is part of a larger one."""
        identity = self.identity
        message.module = identity.module  # type: ignore[assignment]  # an open enum on the wire
        message.deviceType = identity.device_type
        message.deviceRole = identity.role
        message.deviceName = self.name
        message.priority = self.priority

    def __str__(self) -> str:
        """The identity; name and priority only where they say more."""
        more = [repr(self.name)] if self.name not in {"", self.identity.role} else []
        more += [f"priority {self.priority}"] if self.priority else []
        return f"{self.identity} ({', '.join(more)})" if more else str(self.identity)
