"""Who a process is on the bus, and the topics that follow from it (decisions: Bus)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from module_gateway.protocol import bus_pb2

_PREFIX: Final = "mg/1"
"""The schema's version is part of every topic: a later one lives beside this one."""

_KIND_WORDS: Final = {
    int(bus_pb2.INTERNAL_SERVER): "server",
    int(bus_pb2.MODULE_HANDLER): "handler",
    int(bus_pb2.EXTERNAL_CLIENT): "client",
    int(bus_pb2.TOOL): "tool",
}

PRESENCE_TOPIC: Final = f"{_PREFIX}/presence/0"
"""Everybody's heartbeats (contract R6)."""

_BOOT_ID_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Address:
    """One life of one process. `kind` is a `bus_pb2.Kind` number, `boot_id` is 1 … 2^64-1.

    What was meant for an earlier life of a process never reaches a later one, because the
    boot id is part of the topic.
    """

    kind: int
    boot_id: int

    @property
    def is_valid(self) -> bool:
        """Such a process can exist."""
        return self.kind in _KIND_WORDS and 0 < self.boot_id < 2**_BOOT_ID_BITS

    @property
    def topic(self) -> str:
        """Where this process listens: words of ours and numbers, never a device's text."""
        return f"{_PREFIX}/{_KIND_WORDS[self.kind]}/{self.boot_id}"

    def __str__(self) -> str:
        return f"{_KIND_WORDS.get(self.kind, 'unknown')}/{self.boot_id}"


def new_boot_id() -> int:
    """A random number for one life of a process; never 0, which means "absent" in proto3."""
    return secrets.randbelow(2**_BOOT_ID_BITS - 1) + 1
