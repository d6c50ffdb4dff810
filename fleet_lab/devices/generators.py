"""Random numbers that depend on a seed and a path only, in a few bytes per generator.

A `Stream` is counter-based: draw k of a stream is a hash of (key, k), and the key is a hash of the
seed and the path of names (fleet, device id, purpose). So a device gets the same numbers whatever
process it lives in and whatever its neighbours draw.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_MASK: Final = 2**64 - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB
"""Increment and multipliers of splitmix64 (Steele, Lea, Flood: Fast splittable PRNGs, 2014)."""
_TWO_53: Final = 2.0**-53
_TURN: Final = 2 * math.pi


class Stream:
    """A seeded generator of 64-bit words and what can be made of them.

    `Stream(7, "cars", "cars/3")` and `Stream(7).fork("cars", "cars/3")` give the same numbers.
    Forking never moves the stream it is called on.
    """

    __slots__ = ("_counter", "_key")

    def __init__(self, seed: int, *path: str | int) -> None:
        self._key = _key_of(seed & _MASK, path)
        self._counter = 0

    def fork(self, *path: str | int) -> Stream:
        """An independent stream for a purpose."""
        child = Stream.__new__(Stream)
        child._key, child._counter = _step(self._key, path), 0  # noqa: SLF001  # of this class
        return child

    def word(self) -> int:
        """The next 64 bits."""
        self._counter += 1
        mixed = (self._key + self._counter * _GOLDEN) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * _FIRST) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * _SECOND) & _MASK
        return mixed ^ (mixed >> 31)

    def random(self) -> float:
        """From 0 inclusive to 1 exclusive."""
        return (self.word() >> 11) * _TWO_53

    def uniform(self, low: float, high: float) -> float:
        """From `low` to `high`."""
        return low + (high - low) * self.random()

    def gauss(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        """Normally distributed (Box and Muller, one of the pair: nothing is kept)."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.random()))
        return mean + deviation * radius * math.cos(_TURN * self.random())

    def expovariate(self, rate: float) -> float:
        """Time to the next event when there are `rate` per second on average."""
        return -math.log(1.0 - self.random()) / rate

    def randint(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def below(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        if count < 1:
            raise ValueError(f"there is no number below {count}")
        return (self.word() * count) >> 64

    def choice(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]


def _key_of(seed: int, path: Iterable[str | int]) -> int:
    return _step(_hash(seed, ""), path)


def _step(key: int, path: Iterable[str | int]) -> int:
    for name in path:
        key = _hash(key, name)
    return key


def _hash(parent: int, name: str | int) -> int:
    text = repr((parent, name)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
