"""One direction of one connection: what goes in comes out later, in the same order, once.

Pure: time comes in as `now` (monotonic seconds), random numbers from a generator that is passed
in. The order of a byte stream is always kept; see `OneWay` for what each condition does. A new
value of a changed condition holds for what is put from then on and for what still waits for the
rate; bytes in flight keep their time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

from fleet_lab.links.meter import Meter
from fleet_lab.links.presets import OneWay

SEGMENT_BYTES: Final = 1460
"""Payload of one Ethernet-sized TCP segment: the smallest piece a rate divides bytes into."""
SEGMENT_S: Final = 0.005
"""Faster links are divided into pieces of this long instead: enough to be smooth, few timers."""
HELD_BYTES: Final = 1024 * 1024
"""Bound of what one direction holds when no rate says how much may be under way."""
SLACK_BYTES: Final = 64 * 1024
TIMER_S: Final = 0.0005
"""Timers of some event loops tick in milliseconds and may come half a tick early."""
_JITTER_LIMIT: Final = 3.0
_BITS: Final = 8


class Rng(Protocol):
    """What the shim needs of a random generator; `fleet_lab.devices.generators.Stream` fits."""

    def random(self) -> float:
        """From 0 inclusive to 1 exclusive."""
        ...

    def gauss(self, mean: float, deviation: float, /) -> float:
        """Normally distributed."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """The writer's side of the stream is at its end; travels behind the bytes."""

    error: Exception | None = None
    is_whole: bool = True
    """False: end of file only, the other direction goes on."""


Item = bytes | Ended


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Where a link is in its cycle of stalls: one per link, so that all connections share it."""

    origin_s: float = 0.0
    turn: float = 0.0
    """0 to 1: which part of the first cycle is already over at `origin_s`."""

    def stall_end_s(self, way: OneWay, at_s: float) -> float | None:
        """When the stall that reigns at `at_s` ends; None when there is none."""
        every_s = way.stall_every_s
        if every_s is None:
            return None
        cycle = self.cycle(way, at_s)
        end_s = self.origin_s + (cycle + 1 - self.turn) * every_s
        return end_s if at_s >= end_s - way.stall_s and at_s < end_s else None

    def cycle(self, way: OneWay, at_s: float) -> int:
        """Number of the cycle that `at_s` lies in."""
        every_s = way.stall_every_s
        return 0 if every_s is None else math.floor((at_s - self.origin_s) / every_s + self.turn)


@dataclass(slots=True)
class _Piece:
    item: Item
    put_s: float
    left_bucket_s: float
    release_s: float
    is_queued: bool
    is_measured: bool


class Shim:
    """Holds what is under way. `is_blocked` is set while the far end takes nothing."""

    __slots__ = (
        "_declared", "_delivered_s", "_free_s", "_held_bytes", "_is_measured", "_jitter_s",
        "_opened_s", "_opens_s", "_pieces", "_released_s", "_rhythm", "_rng", "_sampled_s",
        "_stall_cycle", "has_vanished", "is_blocked", "meter", "way",
    )  # fmt: skip

    def __init__(
        self,
        way: OneWay,
        rng: Rng,
        meter: Meter,
        rhythm: Rhythm,
        opens_s: float = -math.inf,
        declared: OneWay | None = None,
    ) -> None:
        """Make an empty one.

        From `opens_s` on the connection stands and bytes may start. Delay and rate are measured
        only while they are those of `declared` (None: `way`).
        """
        self.way = way
        self._declared = _pace(way if declared is None else declared)
        self._is_measured = _pace(way) == self._declared
        self.meter = meter
        self.is_blocked = False
        self.has_vanished = False
        self._rng = rng
        self._rhythm = rhythm
        self._pieces: list[_Piece] = []  # a deque would cost 700 bytes while it is empty
        self._held_bytes = 0
        self._free_s = self._opens_s = opens_s
        self._released_s = -math.inf
        self._sampled_s = -math.inf
        self._jitter_s = 0.0
        self._opened_s = -math.inf
        self._delivered_s = -math.inf
        self._stall_cycle: int | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that went in and did not come out yet."""
        return self._held_bytes

    @property
    def is_idle(self) -> bool:
        """Whether nothing at all is under way."""
        return not self._pieces

    def put(self, item: Item, now: float) -> None:
        """Take bytes or the end of the stream."""
        if self.way.is_half_open:
            self._vanish(item)
        elif isinstance(item, Ended) or self.way.rate_bps is None:
            self._schedule(item, now, now)
        else:
            size = max(SEGMENT_BYTES, int(self.way.rate_bps * SEGMENT_S / _BITS))
            for start in range(0, len(item), size):
                self._schedule(item[start : start + size], now, now)

    def take(self, now: float) -> list[Item]:
        """Everything that arrives by `now`, in order."""
        arrived: list[Item] = []
        if self.next_due_s(now) is None:
            return arrived
        latest_s = now + TIMER_S
        if self._rhythm.stall_end_s(self.way, now) is not None:
            return arrived
        for piece in self._pieces:
            if piece.release_s > latest_s:
                break
            self._note(piece, now)
            arrived.append(piece.item)
        del self._pieces[: len(arrived)]
        return arrived

    def next_due_s(self, now: float) -> float | None:
        """When `take` gives something next; None while nothing can come."""
        if not self._pieces or self.way.is_cut or self.is_blocked:
            return None
        due_s = max(self._pieces[0].release_s, now)
        stall_end_s = self._rhythm.stall_end_s(self.way, due_s)
        if stall_end_s is None:
            return due_s
        cycle = self._rhythm.cycle(self.way, due_s)
        if cycle != self._stall_cycle:
            self._stall_cycle = cycle
            self.meter.stalls += 1
        return stall_end_s

    def is_full(self, now: float) -> bool:
        """Whether the writer should pause: the declared queue is full."""
        return self._backlog_s(now) > self.way.queue_s or self._held_bytes > self._limit_bytes()

    def room_s(self, now: float) -> float | None:
        """When a paused writer may go on: `now`, later, or None: look again after a delivery."""
        if self._held_bytes > self._limit_bytes() / 2:
            return None
        return now + max(0.0, self._backlog_s(now) - self.way.queue_s / 2)

    def set(self, way: OneWay, now: float) -> None:
        """Other conditions from now on."""
        is_opening = self.way.is_cut and not way.is_cut
        self.way = way
        self._is_measured = _pace(way) == self._declared
        self._stall_cycle = None
        if is_opening:
            self._opened_s = now
        if way.is_half_open:
            for piece in self._pieces:
                self._drop(piece)
            self._pieces.clear()
            return
        waiting = [piece for piece in self._pieces if piece.left_bucket_s > now]
        del self._pieces[len(self._pieces) - len(waiting) :]
        self._free_s = now
        self._released_s = self._pieces[-1].release_s if self._pieces else now
        for piece in waiting:
            size = len(piece.item) if isinstance(piece.item, bytes) else 0
            self._held_bytes -= size
            self._schedule(piece.item, now, piece.put_s)

    def unblock(self, now: float) -> None:
        """The far end takes bytes again."""
        self.is_blocked = False
        self._opened_s = now

    def clear(self) -> None:
        """Forget what is under way: the connection is gone."""
        self._pieces.clear()
        self._held_bytes = 0

    def _schedule(self, item: Item, now: float, put_s: float) -> None:
        size = len(item) if isinstance(item, bytes) else 0
        rate = self.way.rate_bps
        start_s = max(now, self._free_s, self._opens_s)
        left_s = start_s + (size * _BITS / rate if rate is not None else 0.0)
        self._free_s = left_s
        if now != self._sampled_s:
            self._sampled_s, self._jitter_s = now, self._sample_s()
        release_s = max(left_s + max(0.0, self.way.delay_s + self._jitter_s), self._released_s)
        self._released_s = release_s
        self._held_bytes += size
        is_queued = rate is not None and start_s > now
        self._pieces.append(_Piece(item, put_s, left_s, release_s, is_queued, self._is_measured))

    def _sample_s(self) -> float:
        """One deviation for all that is written at one moment: a burst travels together."""
        jitter_s = self.way.jitter_s
        if not jitter_s:
            return 0.0
        bound_s = _JITTER_LIMIT * jitter_s
        return max(-bound_s, min(bound_s, self._rng.gauss(0.0, jitter_s)))

    def _note(self, piece: _Piece, now: float) -> None:
        size = len(piece.item) if isinstance(piece.item, bytes) else 0
        self._held_bytes -= size
        self.meter.delivered(size)
        is_held = (
            piece.release_s < self._opened_s
            or self._rhythm.stall_end_s(self.way, piece.release_s) is not None
        )
        if size and piece.is_measured and not is_held:
            self.meter.delayed(now - piece.left_bucket_s)
            if piece.is_queued and self._delivered_s > piece.put_s:
                self.meter.saturated(size * _BITS, now - self._delivered_s)
        self._delivered_s = now

    def _vanish(self, item: Item) -> None:
        self.has_vanished = True
        self.meter.vanished_bytes += len(item) if isinstance(item, bytes) else 0

    def _drop(self, piece: _Piece) -> None:
        self._held_bytes -= len(piece.item) if isinstance(piece.item, bytes) else 0
        self._vanish(piece.item)

    def _backlog_s(self, now: float) -> float:
        if self.way.rate_bps is None:
            return 0.0
        return max(0.0, self._free_s - max(now, self._opens_s))

    def _limit_bytes(self) -> float:
        way = self.way
        if way.rate_bps is None:
            return HELD_BYTES
        under_way_s = way.delay_s + _JITTER_LIMIT * way.jitter_s + way.queue_s
        return way.rate_bps * under_way_s / _BITS + SLACK_BYTES


def _pace(way: OneWay) -> tuple[float, float, float | None]:
    """What the meter's delay and rate depend on."""
    return way.delay_s, way.jitter_s, way.rate_bps
