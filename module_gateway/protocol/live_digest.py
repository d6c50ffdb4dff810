"""A running digest of the connection instances that two sides believe open (contract R6).

An internal server and a module handler each keep one and compare them with every heartbeat. It
costs two numbers on the bus and finds any single difference; finding what differs takes the list.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 2**64 - 1


def mix64(number: int) -> int:
    """Spread a 64-bit number over all its bits: the finaliser of splitmix64.

    Without it the exclusive or of neighbouring instance numbers would cancel out.
    """
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


class RunningDigest:
    """Count and exclusive or of `mix64` over a set of instances.

    The caller adds each instance once and removes only what it added.
    """

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value = 0

    def add(self, instance: int) -> None:
        """An instance is open from now on."""
        self.count += 1
        self.value ^= mix64(instance)

    def remove(self, instance: int) -> None:
        """An instance that was added is open no longer."""
        self.count -= 1
        self.value ^= mix64(instance)
